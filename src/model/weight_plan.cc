#include "model/weight_plan.h"

#include <numeric>
#include <string>
#include <unordered_set>

#include "model/tensor_names.h"
#include "model/weight_format.h"
#include "model/weight_source.h"

namespace hadal {
namespace {

/// "X.weight" for X.weight itself and for every tensor that stores it in another form.
std::string WeightName(std::string_view name) {
  for (const std::string_view suffix : {"_scale_inv", "_packed", "_scale", "_shape"})
    if (name.ends_with(std::string(".weight") + std::string(suffix)))
      return std::string(name.substr(0, name.size() - suffix.size()));
  return std::string(name);
}

/// kDataLoss for a tensor that the architecture has no use for: what it was trained to do would be left out silently.
Status RefuseStrangers(const ModelConfig& config, const Checkpoint& checkpoint) {
  std::unordered_set<std::string> known;
  for (const TensorSpec& spec : ExpectedTensors(config)) known.insert(spec.name);
  // What stands behind the last layer may be a prediction layer that config.json does not announce; without eh_proj it
  // is an ordinary layer, and num_hidden_layers is too small.
  const std::string behind = LayerPrefix(config.num_hidden_layers);
  const bool has_prediction = checkpoint.Find(behind + "eh_proj.weight") != nullptr;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const bool ordinary = tensor.name.starts_with(behind) && !has_prediction;
    if (known.contains(WeightName(tensor.name)) || (!ordinary && IsToleratedTensor(config, tensor.name))) continue;
    return DataLoss("{} holds a tensor '{}', and config.json describes no model that has one; check that both belong "
                    "together",
                    checkpoint.path().string(), Shown(tensor.name));
  }
  return {};
}

/// Walks the model as the forward pass does, finds each tensor and gives it a place.
class PlanBuilder {
 public:
  PlanBuilder(const ModelConfig& config, const Checkpoint& checkpoint, const LoadOptions& options,
              WeightPlan& plan)
      : config_(config), checkpoint_(checkpoint), options_(options), plan_(plan) {}

  Status Model();

 private:
  Status Outside();
  Status Layer(int64_t index, LayerWeights& layer);
  Status Attention(const std::string& prefix, MlaWeights& attention);
  Status KeyValueUp(const std::string& name, MlaWeights& attention);
  Status FeedForward(const std::string& prefix, int64_t width, FeedForwardWeights& network);
  Status Moe(const std::string& prefix, MoeWeights& moe);
  Status Prediction(int64_t index, MtpWeights& mtp);

  Status Linear(const std::string& name, int64_t out, int64_t in, LinearRole role, LinearWeight& target,
                bool counted = true);
  void AddLinear(const PackJob& job, const LinearWeight& format, bool counted);
  Status Vector(const std::string& name, int64_t width, const float*& target);
  Place Take(int64_t bytes);

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  const LoadOptions& options_;
  WeightPlan& plan_;
};

Place PlanBuilder::Take(int64_t bytes) {
  uint64_t& used = plan_.buffer_bytes.back();
  const Place place{plan_.buffer_bytes.size() - 1, used};
  used += (static_cast<uint64_t>(bytes) + 63) / 64 * 64;
  return place;
}

void PlanBuilder::AddLinear(const PackJob& job, const LinearWeight& format, bool counted) {
  *job.target = format;
  const Place values = Take(format.values_bytes());
  plan_.linears.push_back({job, values, Take(format.scales_bytes()), counted});
}

Status PlanBuilder::Linear(const std::string& name, int64_t out, int64_t in, LinearRole role,
                           LinearWeight& target, bool counted) {
  PackJob job;
  ASSIGN_OR_RETURN(job.source, FindLinear(checkpoint_, config_.quantization, name, out, in));
  job.target = &target;
  AddLinear(job, ChooseFormat(job.source, role, out, in, options_), counted);
  return {};
}

Status PlanBuilder::Vector(const std::string& name, int64_t width, const float*& target) {
  const int64_t shape[] = {width};
  ASSIGN_OR_RETURN(const TensorInfo* tensor, FindPlain(checkpoint_, name, shape));
  plan_.vectors.push_back({tensor, &target, Take(width * 4)});
  return {};
}

Status PlanBuilder::Model() {
  RETURN_IF_ERROR(CheckOptions(options_, config_));
  RETURN_IF_ERROR(RefuseStrangers(config_, checkpoint_));
  Weights& weights = plan_.weights;
  plan_.buffer_bytes.push_back(0);
  RETURN_IF_ERROR(Outside());
  weights.layers.resize(static_cast<size_t>(config_.num_hidden_layers));
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    plan_.buffer_bytes.push_back(0);
    RETURN_IF_ERROR(Layer(i, weights.layers[static_cast<size_t>(i)]));
  }
  if (!options_.mtp) return {};
  weights.mtp.resize(static_cast<size_t>(config_.num_nextn_predict_layers));
  for (int64_t i = 0; i < config_.num_nextn_predict_layers; ++i) {
    plan_.buffer_bytes.push_back(0);
    RETURN_IF_ERROR(Prediction(config_.num_hidden_layers + i, weights.mtp[static_cast<size_t>(i)]));
  }
  return {};
}

Status PlanBuilder::Outside() {
  const int64_t vocab = config_.vocab_size, hidden = config_.hidden_size;
  const int64_t shape[] = {vocab, hidden};
  ASSIGN_OR_RETURN(const TensorInfo* tensor, FindPlain(checkpoint_, "model.embed_tokens.weight", shape));
  plan_.embedding = {tensor, Take(static_cast<int64_t>(tensor->bytes))};
  plan_.weights.embedding = {vocab, hidden, tensor->dtype, nullptr};
  RETURN_IF_ERROR(Vector("model.norm.weight", hidden, plan_.weights.final_norm));
  const bool tied = config_.tie_word_embeddings;
  return Linear(tied ? "model.embed_tokens" : "lm_head", vocab, hidden, LinearRole::kHead, plan_.weights.head,
                !tied);
}

Status PlanBuilder::Layer(int64_t index, LayerWeights& layer) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  RETURN_IF_ERROR(Vector(prefix + "input_layernorm.weight", config_.hidden_size, layer.attention_norm));
  RETURN_IF_ERROR(Attention(prefix + "self_attn.", layer.attention));
  RETURN_IF_ERROR(Vector(prefix + "post_attention_layernorm.weight", config_.hidden_size, layer.ffn_norm));
  if (config_.IsMoeLayer(index)) return Moe(prefix + "mlp.", layer.moe.emplace());
  return FeedForward(prefix + "mlp.", config_.intermediate_size, layer.dense.emplace());
}

Status PlanBuilder::Attention(const std::string& prefix, MlaWeights& attention) {
  const ModelConfig& c = config_;
  const int64_t q_rows = c.num_attention_heads * c.qk_head_dim();
  if (c.q_lora_rank > 0) {
    RETURN_IF_ERROR(Linear(prefix + "q_a_proj", c.q_lora_rank, c.hidden_size, LinearRole::kBody,
                           attention.q_down.emplace()));
    RETURN_IF_ERROR(Vector(prefix + "q_a_layernorm.weight", c.q_lora_rank, attention.q_norm));
    RETURN_IF_ERROR(Linear(prefix + "q_b_proj", q_rows, c.q_lora_rank, LinearRole::kBody, attention.q_up));
  } else {
    RETURN_IF_ERROR(Linear(prefix + "q_proj", q_rows, c.hidden_size, LinearRole::kBody, attention.q_up));
  }
  RETURN_IF_ERROR(Linear(prefix + "kv_a_proj_with_mqa", c.latent_dim(), c.hidden_size, LinearRole::kBody,
                         attention.kv_down));
  RETURN_IF_ERROR(Vector(prefix + "kv_a_layernorm.weight", c.kv_lora_rank, attention.kv_norm));
  RETURN_IF_ERROR(KeyValueUp(prefix + "kv_b_proj", attention));
  return Linear(prefix + "o_proj", c.hidden_size, c.num_attention_heads * c.v_head_dim, LinearRole::kBody,
                attention.out);
}

/// kv_b_proj holds, for each head, n rows of keys, then v rows of values.
Status PlanBuilder::KeyValueUp(const std::string& name, MlaWeights& attention) {
  const int64_t heads = config_.num_attention_heads, c = config_.kv_lora_rank;
  const int64_t n = config_.qk_nope_head_dim, v = config_.v_head_dim;
  PackJob job;
  ASSIGN_OR_RETURN(job.source, FindLinear(checkpoint_, config_.quantization, name, heads * (n + v), c));
  const auto format = [&](LinearRole role, int64_t out, int64_t in) {
    return ChooseFormat(job.source, role, out, in, options_);
  };
  for (auto* part : {&attention.k_up, &attention.v_up, &attention.v_up_absorbed, &attention.k_up_absorbed})
    part->resize(static_cast<size_t>(heads));
  for (int64_t h = 0; h < heads; ++h) {
    const auto head = static_cast<size_t>(h);
    job.first_row = h * (n + v);
    job.transposed = false;
    job.target = &attention.k_up[head];
    AddLinear(job, format(LinearRole::kKeyValueUp, n, c), true);
    job.transposed = true;
    job.target = &attention.k_up_absorbed[head];
    AddLinear(job, format(LinearRole::kKeyUpAbsorbed, c, n), false);
    job.first_row += n;
    job.transposed = false;
    job.target = &attention.v_up[head];
    AddLinear(job, format(LinearRole::kKeyValueUp, v, c), true);
  }
  return {};
}

Status PlanBuilder::FeedForward(const std::string& prefix, int64_t width, FeedForwardWeights& network) {
  const int64_t hidden = config_.hidden_size;
  RETURN_IF_ERROR(Linear(prefix + "gate_proj", width, hidden, LinearRole::kBody, network.gate));
  RETURN_IF_ERROR(Linear(prefix + "up_proj", width, hidden, LinearRole::kBody, network.up));
  return Linear(prefix + "down_proj", hidden, width, LinearRole::kBody, network.down);
}

Status PlanBuilder::Moe(const std::string& prefix, MoeWeights& moe) {
  const ModelConfig& c = config_;
  RETURN_IF_ERROR(
      Linear(prefix + "gate", c.n_routed_experts, c.hidden_size, LinearRole::kRouter, moe.router));
  if (c.topk_method == TopkMethod::kNoauxTc)
    RETURN_IF_ERROR(Vector(prefix + "gate.e_score_correction_bias", c.n_routed_experts, moe.bias));
  moe.experts.resize(static_cast<size_t>(c.n_routed_experts));
  for (int64_t i = 0; i < c.n_routed_experts; ++i)
    RETURN_IF_ERROR(FeedForward(fmt::format("{}experts.{}.", prefix, i), c.moe_intermediate_size,
                                moe.experts[static_cast<size_t>(i)]));
  if (c.n_shared_experts == 0) return {};
  return FeedForward(prefix + "shared_experts.", c.n_shared_experts * c.moe_intermediate_size,
                     moe.shared.emplace());
}

/// Its copies of embedding and head are not read: they are the main model's.
Status PlanBuilder::Prediction(int64_t index, MtpWeights& mtp) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const int64_t hidden = config_.hidden_size;
  RETURN_IF_ERROR(Vector(prefix + "enorm.weight", hidden, mtp.embedding_norm));
  RETURN_IF_ERROR(Vector(prefix + "hnorm.weight", hidden, mtp.hidden_norm));
  RETURN_IF_ERROR(Linear(prefix + "eh_proj", hidden, 2 * hidden, LinearRole::kHead, mtp.combine));
  RETURN_IF_ERROR(Layer(index, mtp.layer));
  return Vector(prefix + "shared_head.norm.weight", hidden, mtp.head_norm);
}

/// The absorbed form's view of the value up-projection: the same memory. Its input is not quantised where the
/// plain form's is, for it is not the cached latent.
void ShareValueUp(MlaWeights& attention) {
  for (size_t h = 0; h < attention.v_up.size(); ++h) {
    attention.v_up_absorbed[h] = attention.v_up[h];
    attention.v_up_absorbed[h].input = attention.k_up_absorbed[h].input;
  }
}

}  // namespace

uint64_t WeightPlan::TotalBytes() const {
  return std::accumulate(buffer_bytes.begin(), buffer_bytes.end(), uint64_t{0});
}

Status WeightPlan::Allocate() {
  for (size_t i = 0; i < buffer_bytes.size(); ++i) {
    const std::string what =
        i == 0 ? "the embedding and head weights" : fmt::format("the weights of layer {}", i - 1);
    ASSIGN_OR_RETURN(ByteBuffer buffer, ByteBuffer::Allocate(buffer_bytes[i], what.c_str()));
    weights.memory.push_back(std::move(buffer));
  }
  for (const Linear& linear : linears) {
    linear.job.target->panels = At(linear.values);
    if (linear.job.target->scales_bytes() > 0) linear.job.target->scales = At(linear.scales);
  }
  for (const Vector& vector : vectors) *vector.target = reinterpret_cast<const float*>(At(vector.place));
  weights.embedding.rows = At(embedding.place);
  for (LayerWeights& layer : weights.layers) ShareValueUp(layer.attention);
  for (MtpWeights& mtp : weights.mtp) ShareValueUp(mtp.layer.attention);
  return {};
}

Result<std::unique_ptr<WeightPlan>> MakeWeightPlan(const ModelConfig& config, const Checkpoint& checkpoint,
                                                   const LoadOptions& options) {
  auto plan = std::make_unique<WeightPlan>();
  RETURN_IF_ERROR(PlanBuilder(config, checkpoint, options, *plan).Model());
  return plan;
}

}  // namespace hadal
