#include "model/tensor_names.h"

#include "base/check.h"

namespace hadal {
namespace {

constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";

/// Collects specs whose names share a prefix.
class SpecList {
 public:
  SpecList(std::string prefix, std::vector<TensorSpec>& out) : prefix_(std::move(prefix)), out_(out) {}

  void Linear(std::string_view name, int64_t rows, int64_t columns) {
    Add(name, {rows, columns}, TensorKind::kLinear);
  }
  void Norm(std::string_view name, int64_t width) { Add(name, {width}, TensorKind::kNorm); }
  void Add(std::string_view name, std::vector<int64_t> shape, TensorKind kind,
           std::string_view copy_of = "") {
    out_.push_back({fmt::format("{}{}", prefix_, name), std::move(shape), kind, std::string(copy_of)});
  }

 private:
  std::string prefix_;
  std::vector<TensorSpec>& out_;
};

void AddAttention(const ModelConfig& c, const std::string& layer, std::vector<TensorSpec>& out) {
  SpecList list(layer + "self_attn.", out);
  const int64_t heads = c.num_attention_heads;
  if (c.q_lora_rank > 0) {
    list.Linear("q_a_proj.weight", c.q_lora_rank, c.hidden_size);
    list.Norm("q_a_layernorm.weight", c.q_lora_rank);
    list.Linear("q_b_proj.weight", heads * c.qk_head_dim(), c.q_lora_rank);
  } else {
    list.Linear("q_proj.weight", heads * c.qk_head_dim(), c.hidden_size);
  }
  list.Linear("kv_a_proj_with_mqa.weight", c.latent_dim(), c.hidden_size);
  list.Norm("kv_a_layernorm.weight", c.kv_lora_rank);
  list.Linear("kv_b_proj.weight", heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
  list.Linear("o_proj.weight", c.hidden_size, heads * c.v_head_dim);
}

/// One SwiGLU network: gate, up and down.
void AddNetwork(const ModelConfig& c, std::string prefix, int64_t width, std::vector<TensorSpec>& out) {
  SpecList list(std::move(prefix), out);
  list.Linear("gate_proj.weight", width, c.hidden_size);
  list.Linear("up_proj.weight", width, c.hidden_size);
  list.Linear("down_proj.weight", c.hidden_size, width);
}

void AddExperts(const ModelConfig& c, const std::string& layer, std::vector<TensorSpec>& out) {
  SpecList list(layer + "mlp.", out);
  list.Add("gate.weight", {c.n_routed_experts, c.hidden_size}, TensorKind::kRouter);
  if (c.topk_method == TopkMethod::kNoauxTc)
    list.Add("gate.e_score_correction_bias", {c.n_routed_experts}, TensorKind::kRouterBias);
  for (int64_t expert = 0; expert < c.n_routed_experts; ++expert)
    AddNetwork(c, fmt::format("{}mlp.experts.{}.", layer, expert), c.moe_intermediate_size, out);
  if (c.n_shared_experts > 0)
    AddNetwork(c, layer + "mlp.shared_experts.", c.n_shared_experts * c.moe_intermediate_size, out);
}

void AddLayer(const ModelConfig& c, int64_t layer, std::vector<TensorSpec>& out) {
  const std::string prefix = LayerPrefix(layer);
  const bool prediction = layer >= c.num_hidden_layers;
  SpecList list(prefix, out);
  if (prediction) {
    list.Add("embed_tokens.weight", {c.vocab_size, c.hidden_size}, TensorKind::kEmbedding, kEmbedding);
    list.Norm("enorm.weight", c.hidden_size);
    list.Norm("hnorm.weight", c.hidden_size);
    list.Add("eh_proj.weight", {c.hidden_size, 2 * c.hidden_size}, TensorKind::kMtpProjection);
  }
  list.Norm("input_layernorm.weight", c.hidden_size);
  AddAttention(c, prefix, out);
  list.Norm("post_attention_layernorm.weight", c.hidden_size);
  if (c.IsMoeLayer(layer)) {
    AddExperts(c, prefix, out);
  } else {
    AddNetwork(c, prefix + "mlp.", c.intermediate_size, out);
  }
  if (prediction) {
    list.Norm("shared_head.norm.weight", c.hidden_size);
    list.Add("shared_head.head.weight", {c.vocab_size, c.hidden_size}, TensorKind::kHead,
             c.tie_word_embeddings ? kEmbedding : kHead);
  }
}

}  // namespace

int64_t TensorSpec::Elements() const {
  int64_t product = 1;
  for (int64_t extent : shape) product *= extent;
  return product;
}

std::string LayerPrefix(int64_t layer) { return fmt::format("model.layers.{}.", layer); }

std::vector<TensorSpec> LayerTensors(const ModelConfig& config, int64_t layer) {
  HADAL_CHECK(layer >= 0 && layer < config.num_hidden_layers + config.num_nextn_predict_layers, "layer {}",
              layer);
  std::vector<TensorSpec> specs;
  AddLayer(config, layer, specs);
  return specs;
}

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  std::vector<TensorSpec> specs;
  SpecList whole("", specs);
  whole.Add(kEmbedding, {config.vocab_size, config.hidden_size}, TensorKind::kEmbedding);
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) AddLayer(config, layer, specs);
  whole.Norm("model.norm.weight", config.hidden_size);
  if (!config.tie_word_embeddings)
    whole.Add(kHead, {config.vocab_size, config.hidden_size}, TensorKind::kHead);
  for (int64_t i = 0; i < config.num_nextn_predict_layers; ++i)
    AddLayer(config, config.num_hidden_layers + i, specs);
  return specs;
}

bool IsToleratedTensor(const ModelConfig& config, std::string_view name) {
  if (name.ends_with("rotary_emb.inv_freq")) return true;
  if (config.tie_word_embeddings && name == kHead) return true;
  return config.num_nextn_predict_layers == 0 && name.starts_with(LayerPrefix(config.num_hidden_layers));
}

}  // namespace hadal
