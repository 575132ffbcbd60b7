#include "train/layers/parameters.h"

#include <algorithm>

#include "base/check.h"

namespace hadal::train {
namespace {

constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";

bool Ends(std::string_view name, std::string_view tail) { return name.ends_with(tail); }

/// The expert number in a name "….mlp.experts.17.gate_proj.weight"; -1 for other names.
int64_t ExpertOf(std::string_view name) {
  constexpr std::string_view kMark = ".mlp.experts.";
  const size_t at = name.find(kMark);
  return at == std::string_view::npos ? -1 : std::atoll(name.data() + at + kMark.size());
}

/// What splits a tensor among the tensor-parallel ranks.
enum class Split { kNone, kRows, kColumns };

/// Attention by heads, networks by width, embedding and head by vocabulary; the rest is on every rank.
Split SplitOf(const Shard& s) {
  if (s.kind == TensorKind::kEmbedding || s.kind == TensorKind::kHead) return Split::kRows;
  for (const std::string_view rows :
       {"q_b_proj.weight", ".q_proj.weight", "kv_b_proj.weight", "gate_proj.weight", "up_proj.weight"})
    if (Ends(s.name, rows)) return Split::kRows;
  for (const std::string_view columns : {"o_proj.weight", "down_proj.weight"})
    if (Ends(s.name, columns)) return Split::kColumns;
  return Split::kNone;
}

/// Elements of one unit that may not be cut: a head's rows or columns.
int64_t UnitOf(const ModelConfig& c, const Shard& s) {
  if (Ends(s.name, "q_b_proj.weight") || Ends(s.name, ".q_proj.weight")) return c.qk_head_dim();
  if (Ends(s.name, "kv_b_proj.weight")) return c.qk_nope_head_dim + c.v_head_dim;
  if (Ends(s.name, "o_proj.weight")) return c.v_head_dim;
  return 1;
}

Shard MakeShard(const ModelConfig& c, const ProcessMesh& mesh, const TensorSpec& spec) {
  Shard s{.name = spec.name, .kind = spec.kind};
  s.full_rows = spec.shape.size() == 1 ? 1 : spec.shape[0];
  s.full_cols = spec.shape.back();
  s.rows = s.full_rows;
  s.cols = s.full_cols;
  s.expert = ExpertOf(spec.name) >= 0;
  const Split split = SplitOf(s);
  const int64_t unit = UnitOf(c, s);
  const Part part =
      PartOf((split == Split::kColumns ? s.cols : s.rows) / unit, mesh.shape().tensor, mesh.shard());
  if (split == Split::kRows) {
    s.row = part.first * unit;
    s.rows = part.count * unit;
  } else if (split == Split::kColumns) {
    s.col = part.first * unit;
    s.cols = part.count * unit;
  } else {
    s.replicated = mesh.shape().tensor > 1;
  }
  return s;
}

Status CheckSplit(const ModelConfig& c, const MeshShape& m) {
  if (c.num_attention_heads < m.tensor)
    return InvalidArgument("{} attention heads cannot be split over tensor_parallel = {}",
                           c.num_attention_heads, m.tensor);
  const int64_t width = c.n_routed_experts > 0 ? c.moe_intermediate_size : c.intermediate_size;
  if (std::min(width, c.vocab_size) < m.tensor)
    return InvalidArgument("a network of width {} and {} words cannot be split over tensor_parallel = {}",
                           width, c.vocab_size, m.tensor);
  if (c.num_hidden_layers < m.pipeline)
    return InvalidArgument("{} layers cannot be split over pipeline_parallel = {}", c.num_hidden_layers,
                           m.pipeline);
  if (c.num_nextn_predict_layers > 1)
    return Unsupported("{} multi-token-prediction layers; training knows one", c.num_nextn_predict_layers);
  return m.expert > 1 ? CheckExpertSplit(c, m.expert) : Status();
}

}  // namespace

Part StageLayers(const ModelConfig& config, const MeshShape& mesh, int stage) {
  return PartOf(config.num_hidden_layers, mesh.pipeline, stage);
}

Result<std::vector<Shard>> PlaceParameters(const ModelConfig& c, const ProcessMesh& mesh) {
  RETURN_IF_ERROR(CheckSplit(c, mesh.shape()));
  const Part layers = StageLayers(c, mesh.shape(), mesh.stage());
  const Part experts = PartOf(c.n_routed_experts, mesh.shape().expert, mesh.expert_rank());
  std::vector<Shard> shards, routed;
  const auto add = [&](const TensorSpec& spec, bool copy) {
    if (spec.kind == TensorKind::kRouterBias) return;
    const int64_t expert = ExpertOf(spec.name);
    if (expert >= 0 && (expert < experts.first || expert >= experts.first + experts.count)) return;
    std::vector<Shard>& list = expert >= 0 ? routed : shards;
    list.push_back(MakeShard(c, mesh, spec));
    list.back().copy = copy;
  };
  for (const TensorSpec& spec : ExpectedTensors(c)) {
    // A prediction layer's own embedding and head are the model's, stored once more.
    if (!spec.copy_of.empty()) continue;
    if (spec.name == kEmbeddingName) {
      const bool used_last = c.tie_word_embeddings || c.num_nextn_predict_layers > 0;
      if (mesh.first_stage() || (mesh.last_stage() && used_last)) add(spec, !mesh.first_stage());
      continue;
    }
    if (spec.name == "model.norm.weight" || spec.name == "lm_head.weight") {
      if (mesh.last_stage()) add(spec, false);
      continue;
    }
    const int64_t layer = std::atoll(spec.name.c_str() + std::string_view("model.layers.").size());
    const bool here = layer >= c.num_hidden_layers
                          ? mesh.last_stage()
                          : layer >= layers.first && layer < layers.first + layers.count;
    if (here) add(spec, false);
  }
  shards.insert(shards.end(), routed.begin(), routed.end());
  return shards;
}

template <typename T>
Result<std::unique_ptr<ParameterSet<T>>> ParameterSet<T>::Create(const ModelConfig& config,
                                                                 const ProcessMesh& mesh) {
  ASSIGN_OR_RETURN(std::vector<Shard> placed, PlaceParameters(config, mesh));
  ASSIGN_OR_RETURN(ShardSet<T> shards, ShardSet<T>::Create(std::move(placed), mesh));
  std::unique_ptr<ParameterSet> set(new ParameterSet(std::move(shards)));
  for (size_t i = 0; i < set->shards().size(); ++i) set->index_.emplace(set->shards()[i].name, i);
  set->Bind(config, mesh);
  return set;
}

template <typename T>
const Parameter<T>* ParameterSet<T>::Find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &this->parameter(found->second);
}

template <typename T>
const Parameter<T>& ParameterSet<T>::Get(const std::string& name) const {
  const Parameter<T>* found = Find(name);
  HADAL_CHECK(found != nullptr, "no parameter {}", name);
  return *found;
}

template <typename T>
LayerParameters<T> ParameterSet<T>::BindLayer(const ModelConfig& c, int64_t layer) {
  const std::string prefix = LayerPrefix(layer);
  const auto get = [&](std::string_view name) { return Get(fmt::format("{}{}", prefix, name)); };
  const auto network = [&](const std::string& at) {
    return NetworkParameters<T>{get(at + "gate_proj.weight"), get(at + "up_proj.weight"),
                                get(at + "down_proj.weight")};
  };
  LayerParameters<T> p;
  p.attention_norm = get("input_layernorm.weight");
  p.network_norm = get("post_attention_layernorm.weight");
  if (c.q_lora_rank > 0) {
    p.attention.q_a = get("self_attn.q_a_proj.weight");
    p.attention.q_a_norm = get("self_attn.q_a_layernorm.weight");
  }
  p.attention.q_b = get(c.q_lora_rank > 0 ? "self_attn.q_b_proj.weight" : "self_attn.q_proj.weight");
  p.attention.kv_a = get("self_attn.kv_a_proj_with_mqa.weight");
  p.attention.kv_a_norm = get("self_attn.kv_a_layernorm.weight");
  p.attention.kv_b = get("self_attn.kv_b_proj.weight");
  p.attention.o = get("self_attn.o_proj.weight");
  if (!c.IsMoeLayer(layer)) {
    p.dense = network("mlp.");
    return p;
  }
  MoeParameters<T>& moe = p.moe.emplace();
  moe.router = get("mlp.gate.weight");
  if (c.topk_method == TopkMethod::kNoauxTc)
    for (Bias& bias : biases_)
      if (bias.layer == layer) moe.bias = bias.values.data();
  for (int64_t e = 0; e < c.n_routed_experts; ++e) {
    const std::string at = fmt::format("mlp.experts.{}.", e);
    if (!Find(prefix + at + "gate_proj.weight")) continue;  // another rank's
    const NetworkParameters<T>& expert = moe.experts.emplace_back(network(at));
    moe.gate.push_back(expert.gate.value);
    moe.up.push_back(expert.up.value);
    moe.down.push_back(expert.down.value);
    moe.gate_grad.push_back(expert.gate.grad);
    moe.up_grad.push_back(expert.up.grad);
    moe.down_grad.push_back(expert.down.grad);
  }
  if (c.n_shared_experts > 0) moe.shared = network("mlp.shared_experts.");
  return p;
}

template <typename T>
void ParameterSet<T>::Bind(const ModelConfig& c, const ProcessMesh& mesh) {
  const Part stage = StageLayers(c, mesh.shape(), mesh.stage());
  first_layer = stage.first;
  vocabulary = PartOf(c.vocab_size, mesh.shape().tensor, mesh.shard());
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < stage.count; ++i) ids.push_back(stage.first + i);
  const bool predicts = mesh.last_stage() && c.num_nextn_predict_layers > 0;
  if (predicts) ids.push_back(c.num_hidden_layers);
  // All biases before any pointer into them is taken.
  for (const int64_t id : ids)
    if (c.IsMoeLayer(id) && c.topk_method == TopkMethod::kNoauxTc)
      biases_.push_back({id, std::vector<T>(static_cast<size_t>(c.n_routed_experts))});
  for (int64_t i = 0; i < stage.count; ++i) layers.push_back(BindLayer(c, stage.first + i));
  if (const Parameter<T>* found = Find(std::string(kEmbeddingName))) embedding = *found;
  if (!mesh.last_stage()) return;
  final_norm = Get("model.norm.weight");
  head = c.tie_word_embeddings ? embedding : std::optional(Get("lm_head.weight"));
  if (!predicts) return;
  const std::string prefix = LayerPrefix(c.num_hidden_layers);
  mtp = MtpParameters<T>{Get(prefix + "enorm.weight"), Get(prefix + "hnorm.weight"),
                         Get(prefix + "eh_proj.weight"), Get(prefix + "shared_head.norm.weight"),
                         BindLayer(c, c.num_hidden_layers)};
}

template class ParameterSet<float>;
template class ParameterSet<double>;

}  // namespace hadal::train
