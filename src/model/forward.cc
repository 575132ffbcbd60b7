#include "model/forward.h"

#include <algorithm>

#include "base/check.h"
#include "model/attention.h"
#include "model/moe.h"

namespace hadal {
namespace {

int64_t CacheLayers(const ModelConfig& c, const StepLimits& l) {
  return c.num_hidden_layers + (l.mtp ? c.num_nextn_predict_layers : 0);
}

}  // namespace

ForwardPass::ForwardPass(const ModelConfig& config, const Weights& weights, Communicator& ranks,
                         const StepLimits& limits)
    : config_(config),
      weights_(weights),
      ranks_(ranks),
      limits_(limits),
      rope_(config.rope, config.qk_rope_head_dim, limits.context) {}

MemoryPlan ForwardPass::Plan(const ModelConfig& c, const StepLimits& l, bool cache_bf16, int threads) {
  MemoryPlan plan;
  plan.cache = KvCache::PlannedBytes(c, CacheLayers(c, l), l.blocks(), l.block_size, cache_bf16);
  plan.cache_tokens = l.blocks() * l.block_size;
  plan.activations = Activations::PlannedBytes(c, l);
  plan.scratch = ExecContext::PlannedBytes(LimitsOf(c, l), threads);
  plan.tables = static_cast<uint64_t>(l.context * c.qk_rope_head_dim) * sizeof(float);
  return plan;
}

Result<std::unique_ptr<ForwardPass>> ForwardPass::Create(const ModelConfig& config, const Weights& weights,
                                                         const KernelTable& kernels, ThreadPool& pool,
                                                         Communicator& ranks, const StepLimits& limits,
                                                         bool cache_bf16) {
  std::unique_ptr<ForwardPass> pass(new ForwardPass(config, weights, ranks, limits));
  ASSIGN_OR_RETURN(pass->cache_, KvCache::Create(config, CacheLayers(config, limits), limits.blocks(),
                                                 limits.block_size, cache_bf16));
  ASSIGN_OR_RETURN(pass->a_, Activations::Create(config, limits));
  ASSIGN_OR_RETURN(ExecContext ctx, ExecContext::Create(kernels, pool, LimitsOf(config, limits)));
  pass->ctx_ = std::make_unique<ExecContext>(std::move(ctx));
  return pass;
}

void ForwardPass::Embed(const Step& step, View<float> out) {
  const EmbeddingTable& table = weights_.embedding;
  const int64_t bytes = table.hidden * DTypeBits(table.dtype) / 8;
  ctx_->pool().For(out.rows, [&](int64_t t, int) {
    const int64_t id = step.tokens[static_cast<size_t>(t)];
    HADAL_CHECK(id >= 0 && id < table.vocab, "token {} of {}", id, table.vocab);
    const std::byte* row = table.rows + id * bytes;
    for (int64_t i = 0; i < table.hidden; ++i) {
      if (table.dtype == DType::kF32) out.at(t, i) = reinterpret_cast<const float*>(row)[i];
      if (table.dtype == DType::kBF16) out.at(t, i) = ToFloat(reinterpret_cast<const bf16*>(row)[i]);
      if (table.dtype == DType::kF16) out.at(t, i) = ToFloat(reinterpret_cast<const f16*>(row)[i]);
    }
  });
}

ops::RopeTable ForwardPass::rope() const {
  return {View<const float>(rope_.cos.data(), rope_.positions, rope_.half),
          View<const float>(rope_.sin.data(), rope_.positions, rope_.half)};
}

/// h += Attention(norm(h)); h += FeedForward(norm(h)).
Status ForwardPass::Layer(const LayerWeights& w, const Step& step, int64_t layer, ForwardObserver* observer) {
  const int64_t rows = step.rows();
  const View<float> h = a_.hidden.Rows(0, rows), x = a_.normed.Rows(0, rows), branch = a_.branch.Rows(0, rows);
  const float eps = static_cast<float>(config_.rms_norm_eps);

  ops::RmsNorm(*ctx_, h, w.attention_norm, eps, x);
  Attention(*ctx_, config_, w.attention, rope(), cache_.layer(layer), step, layer, a_, observer);
  RETURN_IF_ERROR(ranks_.AllReduceSum(branch));
  ops::Add(*ctx_, branch, h);

  ops::RmsNorm(*ctx_, h, w.ffn_norm, eps, x);
  if (w.dense)
    DenseFeedForward(*ctx_, *w.dense, rows, a_);
  else
    RETURN_IF_ERROR(MoeFeedForward(*ctx_, config_, *w.moe, rows, layer, a_, observer));
  RETURN_IF_ERROR(ranks_.AllReduceSum(branch));
  ops::Add(*ctx_, branch, h);

  if (observer) {
    observer->OnTensor("mlp_out", layer, branch);
    observer->OnTensor("hidden", layer, h);
  }
  return {};
}

/// Logits of the step's logit rows from a_.normed.
View<const float> ForwardPass::Head(const Step& step) {
  const int64_t count = static_cast<int64_t>(step.logit_rows.size());
  HADAL_CHECK(count <= limits_.logit_rows, "{} logit rows, planned for {}", count, limits_.logit_rows);
  const View<float> selected = a_.selected.Rows(0, count), logits = a_.logits.Rows(0, count);
  for (int64_t i = 0; i < count; ++i)
    std::copy_n(a_.normed.row(step.logit_rows[static_cast<size_t>(i)]), a_.normed.cols, selected.row(i));
  ops::Linear(*ctx_, selected, weights_.head, logits);  // [rows, vocab]
  return logits;
}

Result<View<const float>> ForwardPass::Run(const Step& step, ForwardObserver* observer) {
  const int64_t rows = rows_ = step.rows();
  HADAL_CHECK(rows <= limits_.tokens, "{} tokens in a step, planned for {}", rows, limits_.tokens);
  Embed(step, a_.hidden.Rows(0, rows));
  if (observer) observer->OnTensor("embed", -1, a_.hidden.Rows(0, rows));
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i)
    RETURN_IF_ERROR(Layer(weights_.layers[static_cast<size_t>(i)], step, i, observer));
  ops::RmsNorm(*ctx_, a_.hidden.Rows(0, rows), weights_.final_norm, static_cast<float>(config_.rms_norm_eps),
               a_.normed.Rows(0, rows));
  if (observer) observer->OnTensor("final_norm", -1, a_.normed.Rows(0, rows));
  return Head(step);
}

/// a_.hidden = M [norm(embedding); norm(state)], and rows_. Returns the layer's weights.
const MtpWeights& ForwardPass::CombineMtp(const Step& step, View<const float> states, int64_t depth,
                                          bool zero_first_embedding) {
  const int64_t rows = rows_ = step.rows(), d = config_.hidden_size;
  HADAL_CHECK_EQ(states.rows, rows);
  HADAL_CHECK(limits_.mtp && depth < static_cast<int64_t>(weights_.mtp.size()), "MTP layer {} of {} loaded", depth,
              weights_.mtp.size());
  const MtpWeights& w = weights_.mtp[static_cast<size_t>(depth)];
  const float eps = static_cast<float>(config_.rms_norm_eps);
  const View<float> input = a_.mtp_input.Rows(0, rows), embedding = input.Cols(0, d), state = input.Cols(d, d);

  Embed(step, embedding);
  if (zero_first_embedding)
    for (int64_t t = 0; t < rows; ++t)
      if (step.positions[static_cast<size_t>(t)] == 0) std::fill_n(embedding.row(t), d, 0.0f);
  ops::RmsNorm(*ctx_, embedding, w.embedding_norm, eps, embedding);
  ops::RmsNorm(*ctx_, states, w.hidden_norm, eps, state);
  ops::Linear(*ctx_, input, w.combine, a_.hidden.Rows(0, rows));  // [T, d]
  return w;
}

Result<View<const float>> ForwardPass::RunMtp(const Step& step, View<const float> states, int64_t depth,
                                              ForwardObserver* observer, bool zero_first_embedding) {
  const MtpWeights& w = CombineMtp(step, states, depth, zero_first_embedding);
  const View<float> h = a_.hidden.Rows(0, rows_);
  const int64_t layer = config_.num_hidden_layers + depth;
  if (observer) observer->OnTensor("eh", layer, h);
  RETURN_IF_ERROR(Layer(w.layer, step, layer, observer));
  ops::RmsNorm(*ctx_, h, w.head_norm, static_cast<float>(config_.rms_norm_eps), a_.normed.Rows(0, rows_));
  return Head(step);
}

void ForwardPass::CacheMtp(const Step& step, View<const float> states, int64_t depth) {
  const MtpWeights& w = CombineMtp(step, states, depth, /*zero_first_embedding=*/false);
  ops::RmsNorm(*ctx_, a_.hidden.Rows(0, rows_), w.layer.attention_norm, static_cast<float>(config_.rms_norm_eps),
               a_.normed.Rows(0, rows_));
  CacheLatents(*ctx_, config_, w.layer.attention, rope(), cache_.layer(config_.num_hidden_layers + depth), step, a_);
}

}  // namespace hadal
