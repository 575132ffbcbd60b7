#include "train/layers/loss_head.h"

#include <algorithm>
#include <cmath>

#include "train/ops/cross_entropy.h"
#include "train/ops/embedding.h"
#include "train/ops/linear.h"
#include "train/ops/rms_norm.h"
#include "train/ops/swiglu.h"

namespace hadal::train {
namespace {

template <typename T>
std::span<T> Flat(View<T> x) {
  return {x.data, static_cast<size_t>(x.rows * x.cols)};
}

}  // namespace

template <typename T>
LossHead<T>::LossHead(const ModelConfig& c, const ProcessMesh& mesh, int64_t rows, Arena& arena)
    : config_(c) {
  const int64_t d = c.hidden_size;
  const auto wide = [&](int64_t width) { return arena.Take<T>(rows, width); };
  normed_ = wide(d);
  rstd_ = wide(1);
  dnormed_ = wide(d);
  logits_ = arena.Take<T>(kChunk, PartOf(c.vocab_size, mesh.shape().tensor, mesh.shard()).count);
  for (View<T>* column : {&top_, &sums_, &target_, &weight_, &loss_}) *column = arena.Take<T>(1, kChunk);
  if (c.num_nextn_predict_layers == 0) return;
  embedding_ = wide(d);
  embedding_rstd_ = wide(1);
  hidden_rstd_ = wide(1);
  input_ = wide(2 * d);
  dinput_ = wide(2 * d);
  const LayerMemory<T> memory(c, mesh, rows, Checkpointing::kNone);
  const int64_t layer = c.num_hidden_layers;
  layer_ = memory.TakeWhole(arena, layer);
  layer_.x = wide(d);
  work_ = memory.TakeWorkspace(arena, std::span(&layer, 1));
  output_ = wide(d);
  output_normed_ = wide(d);
  output_rstd_ = wide(1);
  doutput_ = wide(d);
}

template <typename T>
Status LossHead<T>::Head(const LayerContext<T>& ctx, int64_t layer, const ParameterSet<T>& params,
                         View<const T> states, std::span<const int32_t> targets, double weight, bool backward,
                         View<T> dstates, double& sum, int64_t& count, int64_t& hits) {
  const PartClock::Scope scope(ctx.ops.clock, StepPart::kHead);
  Communicator& shards = ctx.mesh->tensor();
  const int64_t first_id = params.vocabulary.first;
  for (int64_t first = 0; first < states.rows; first += kChunk) {
    const int64_t n = std::min(kChunk, states.rows - first);
    const View<const T> x = states.Rows(first, n);
    const View<T> logits = logits_.Rows(0, n);
    const auto part = targets.subspan(static_cast<size_t>(first), static_cast<size_t>(n));
    const auto column = [&](View<T> v) { return std::span<T>(v.data, static_cast<size_t>(n)); };
    LinearForward<T>(ctx.ops, x, params.head->weight(), logits);
    ctx.See("logits", layer, logits);
    CrossEntropyMax<T>(ctx.ops, logits, column(top_));
    RETURN_IF_ERROR(shards.AllReduceMax(column(top_), "largest logits"));
    CrossEntropySums<T>(ctx.ops, logits, part, first_id, column(top_), column(sums_), column(target_));
    RETURN_IF_ERROR(shards.AllReduceSum(column(sums_), "sums of the softmax"));
    RETURN_IF_ERROR(shards.AllReduceSum(column(target_), "target logits"));
    std::fill_n(weight_.data, n, static_cast<T>(weight));
    for (int64_t t = 0; t < n; ++t) hits += part[t] >= 0 && target_.data[t] >= top_.data[t];
    CrossEntropyFinish<T>(ctx.ops, part, first_id, column(top_), column(sums_), column(target_),
                          column(weight_), logits, column(loss_));
    for (int64_t t = 0; t < n; ++t) {
      sum += loss_.data[t];
      count += part[t] >= 0;
    }
    if (!backward) continue;
    LinearBackwardInput<T>(ctx.ops, logits, params.head->weight(), dstates.Rows(first, n), false);
    LinearBackwardWeight<T>(ctx.ops, logits, x, params.head->grad);
  }
  if (backward) RETURN_IF_ERROR(shards.AllReduceSum(Flat(dstates), "gradients of the head's input"));
  return {};
}

template <typename T>
Status LossHead<T>::Mtp(const LayerContext<T>& ctx, const ParameterSet<T>& params, const LossWeights& weights,
                        bool backward, View<T> dnormed, LossSums& sums, LayerStatistics& statistics) {
  const MtpParameters<T>& p = *params.mtp;
  const int64_t d = config_.hidden_size, layer = config_.num_hidden_layers;
  const double eps = config_.rms_norm_eps;
  const View<T> embedding = embedding_, input = input_, normed = normed_, output = output_;
  const View<T> output_normed = output_normed_, doutput = doutput_, dinput = dinput_;
  EmbeddingForward<T>(ctx.ops, params.embedding->weight(), params.vocabulary.first, ctx.batch->next,
                      embedding);
  RETURN_IF_ERROR(ctx.mesh->tensor().AllReduceSum(Flat(embedding), "embeddings of next tokens"));
  RmsNormForward<T>(ctx.ops, embedding, p.embedding_norm.gain(), eps, input.Cols(0, d), embedding_rstd_.data);
  RmsNormForward<T>(ctx.ops, normed, p.hidden_norm.gain(), eps, input.Cols(d, d), hidden_rstd_.data);
  LinearForward<T>(ctx.ops, input, p.combine.weight(), layer_.x);
  ctx.See("prediction input", layer, layer_.x);
  RETURN_IF_ERROR(
      LayerForward<T>(ctx, layer, p.layer, Checkpointing::kNone, layer_, work_, output, statistics));
  RmsNormForward<T>(ctx.ops, output, p.head_norm.gain(), eps, output_normed, output_rstd_.data);
  RETURN_IF_ERROR(Head(ctx, layer, params, output_normed, ctx.batch->targets2, weights.mtp, backward, doutput,
                       sums.mtp, sums.mtp_targets, sums.mtp_hits));
  if (!backward) return {};

  ctx.SeeGradient("prediction head norm", layer, doutput);
  RmsNormBackward<T>(ctx.ops, doutput, output, p.head_norm.gain(), output_rstd_.data, doutput, false,
                     p.head_norm.grad.data);
  RETURN_IF_ERROR(
      LayerBackward<T>(ctx, layer, p.layer, Checkpointing::kNone, layer_, work_, doutput, statistics));
  LinearBackwardInput<T>(ctx.ops, doutput, p.combine.weight(), dinput, false);
  ctx.SeeGradient("prediction input", layer, dinput);
  LinearBackwardWeight<T>(ctx.ops, doutput, input, p.combine.grad);
  RmsNormBackward<T>(ctx.ops, dinput.Cols(d, d), normed, p.hidden_norm.gain(), hidden_rstd_.data, dnormed,
                     true, p.hidden_norm.grad.data);
  RmsNormBackward<T>(ctx.ops, dinput.Cols(0, d), embedding, p.embedding_norm.gain(), embedding_rstd_.data,
                     dinput.Cols(0, d), false, p.embedding_norm.grad.data);
  EmbeddingBackward<T>(ctx.ops, dinput.Cols(0, d), params.vocabulary.first, ctx.batch->next,
                       params.embedding->grad);
  return {};
}

template <typename T>
Status LossHead<T>::Run(const LayerContext<T>& ctx, const ParameterSet<T>& params, View<const T> hidden,
                        const LossWeights& weights, bool backward, View<T> d, LossSums& sums,
                        LayerStatistics& statistics) {
  const View<T> normed = normed_, dnormed = dnormed_;
  RmsNormForward<T>(ctx.ops, hidden, params.final_norm->gain(), config_.rms_norm_eps, normed, rstd_.data);
  ctx.See("final norm", -1, normed);
  RETURN_IF_ERROR(Head(ctx, -1, params, normed, ctx.batch->targets, weights.main, backward, dnormed,
                       sums.main, sums.main_targets, sums.main_hits));
  if (backward) ctx.SeeGradient("final norm", -1, dnormed);
  if (params.mtp) RETURN_IF_ERROR(Mtp(ctx, params, weights, backward, dnormed, sums, statistics));
  if (!backward) return {};
  RmsNormBackward<T>(ctx.ops, dnormed, hidden, params.final_norm->gain(), rstd_.data, d, false,
                     params.final_norm->grad.data);
  return {};
}

template class LossHead<float>;
template class LossHead<double>;

}  // namespace hadal::train
