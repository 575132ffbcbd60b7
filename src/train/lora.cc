#include "train/lora.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "model/lora.h"

namespace hadal::train {
namespace {

constexpr int64_t kMaxRank = 1 << 16;
constexpr int64_t kUnitRows = 16;  // of a weight, that one thread makes at once

std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t from = 0; from <= text.size();) {
    const size_t end = std::min(text.find(',', from), text.size());
    parts.push_back(text.substr(from, end - from));
    from = end + 1;
  }
  return parts;
}

/// Whether the Linear of `weight` is named `tail`, or ends in it after a dot.
bool Matches(std::string_view weight, std::string_view tail) {
  weight.remove_suffix(std::string_view(".weight").size());
  return weight == tail || (weight.ends_with(tail) && weight[weight.size() - tail.size() - 1] == '.');
}

/// Which dimension of W the tensor-parallel ranks share out.
bool RowsAreSplit(const Shard& w) { return w.rows < w.full_rows; }
bool ColumnsAreSplit(const Shard& w) { return w.cols < w.full_cols; }

Shard FactorA(const Shard& w, const LoraOptions& o, const ProcessMesh& mesh) {
  Shard a{.name = LoraFactorName(w.name, 'A'),
          .kind = TensorKind::kLinear,
          .full_rows = o.rank,
          .full_cols = w.full_cols,
          .row = 0,
          .rows = o.rank,
          .col = w.col,
          .cols = w.cols,
          .expert = w.expert};
  a.replicated = mesh.shape().tensor > 1 && !ColumnsAreSplit(w);
  return a;
}

Shard FactorB(const Shard& w, const LoraOptions& o, const ProcessMesh& mesh) {
  Shard b{.name = LoraFactorName(w.name, 'B'),
          .kind = TensorKind::kLinear,
          .full_rows = w.full_rows,
          .full_cols = o.rank,
          .row = w.row,
          .rows = w.rows,
          .col = 0,
          .cols = o.rank,
          .expert = w.expert};
  b.replicated = mesh.shape().tensor > 1 && !RowsAreSplit(w);
  return b;
}

}  // namespace

std::string LoraOptions::Text() const {
  return on() ? fmt::format("rank {}, alpha {}, targets {}, base {}", rank, alpha, targets, base) : "";
}

Result<std::vector<TensorSpec>> LoraTargets(const ModelConfig& config, const LoraOptions& o) {
  if (o.rank < 1 || o.rank > kMaxRank || !std::isfinite(o.alpha) || o.alpha == 0)
    return InvalidArgument("adapters of rank {} and alpha {}; expected 1 to {}, and an alpha that is not 0",
                           o.rank, o.alpha, kMaxRank);
  const bool attention = o.targets == "attention", all = o.targets == "all";
  const std::vector<std::string> tails = SplitAtCommas(o.targets);
  std::vector<bool> used(tails.size());
  std::vector<TensorSpec> targets;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    if (spec.kind != TensorKind::kLinear || !spec.copy_of.empty()) continue;
    bool taken = all || (attention && spec.name.find(".self_attn.") != std::string::npos);
    for (size_t i = 0; i < tails.size() && !attention && !all; ++i)
      if (!tails[i].empty() && Matches(spec.name, tails[i])) taken = used[i] = true;
    if (taken) targets.push_back(spec);
  }
  if (attention || all) return targets;
  for (size_t i = 0; i < tails.size(); ++i)
    if (!used[i])
      return InvalidArgument(
          "lora_targets has '{}', which ends no name of a Linear of the model; expected attention, all, "
          "or names like o_proj,mlp.down_proj",
          tails[i]);
  return targets;
}

Result<LoraPlan> LoraPlan::Of(const ModelConfig& config, const std::vector<Shard>& shards,
                              const ProcessMesh& mesh, const LoraOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<TensorSpec> specs, LoraTargets(config, options));
  std::unordered_set<std::string> names;
  for (const TensorSpec& spec : specs) names.insert(spec.name);
  LoraPlan plan;
  for (size_t i = 0; i < shards.size(); ++i) {
    if (!names.contains(shards[i].name)) continue;
    plan.targets.push_back({.weight = i, .a = 0, .b = 0, .base = plan.base_elements});
    plan.base_elements += shards[i].elements();
  }
  for (const bool sums : {true, false})
    for (Target& target : plan.targets) {
      const Shard& w = shards[target.weight];
      const auto add = [&](Shard factor, bool is_sum, size_t& index) {
        if (is_sum != sums) return;
        if (sums) (factor.expert ? plan.expert_sums : plan.dense_sums) += factor.elements();
        index = plan.factors.size();
        plan.factors.push_back(std::move(factor));
      };
      add(FactorA(w, options, mesh), RowsAreSplit(w), target.a);
      add(FactorB(w, options, mesh), ColumnsAreSplit(w), target.b);
    }
  return plan;
}

template <typename T>
Lora<T>::Lora(LoraPlan plan, ShardSet<T> factors, Buffer<T> base, ParameterSet<T>& params,
              const ProcessMesh& mesh, const LoraOptions& options)
    : plan_(std::move(plan)),
      factors_(std::move(factors)),
      base_(std::move(base)),
      params_(params),
      mesh_(mesh),
      options_(options) {
  for (const LoraPlan::Target& target : plan_.targets) {
    const Parameter<T> &w = params_.parameter(target.weight), &a = factors_.parameter(target.a),
                       &b = factors_.parameter(target.b);
    backward_.push_back({{b.value, true}, {w.grad}, a.grad});
    backward_.push_back({{w.grad}, {a.value, true}, b.grad});
  }
}

template <typename T>
Result<std::unique_ptr<Lora<T>>> Lora<T>::Create(const ModelConfig& config, ParameterSet<T>& params,
                                                 const ProcessMesh& mesh, const LoraOptions& options) {
  ASSIGN_OR_RETURN(LoraPlan plan, LoraPlan::Of(config, params.shards(), mesh, options));
  ASSIGN_OR_RETURN(ShardSet<T> factors, ShardSet<T>::Create(plan.factors, mesh));
  ASSIGN_OR_RETURN(Buffer<T> base, Buffer<T>::Allocate(plan.base_elements, "weights under adapters"));
  return std::unique_ptr<Lora>(
      new Lora(std::move(plan), std::move(factors), std::move(base), params, mesh, options));
}

template <typename T>
void Lora<T>::Start() {
  for (const LoraPlan::Target& target : plan_.targets) {
    const View<T> w = params_.parameter(target.weight).value, b = factors_.parameter(target.b).value;
    std::copy_n(w.data, w.rows * w.cols, base_.data() + target.base);
    std::fill_n(b.data, b.rows * b.cols, T{});
    const Shard& a = factors_.shards()[target.a];
    const auto deviation = static_cast<float>(1 / std::sqrt(static_cast<double>(a.full_cols)));
    FillRandom(a, options_.seed, deviation, factors_.parameter(target.a).value);
  }
}

template <typename T>
void Lora<T>::Apply(ThreadPool& pool) {
  const T scale = static_cast<T>(options_.scale());
  for (const LoraPlan::Target& target : plan_.targets) {
    const View<T> w = params_.parameter(target.weight).value;
    const View<const T> a = factors_.parameter(target.a).value, b = factors_.parameter(target.b).value;
    const View<const T> base(base_.data() + target.base, w.rows, w.cols);
    pool.For((w.rows + kUnitRows - 1) / kUnitRows, [&](int64_t unit, int) {
      const int64_t first = unit * kUnitRows, count = std::min(kUnitRows, w.rows - first);
      std::copy_n(base.row(first), count * w.cols, w.row(first));
      AddLowRank<T>(a, b.Rows(first, count), scale, w.Rows(first, count));
    });
  }
}

template <typename T>
Status Lora<T>::Backward(GemmContext& gemm) {
  Gemms<T>(gemm, sizeof(T) == 8 ? Compute::kF64 : Compute::kF32, backward_, /*accumulate=*/false);
  const T scale = static_cast<T>(options_.scale());
  for (const auto& group : {factors_.dense(), factors_.experts()})
    for (T& x : group.grads) x *= scale;
  if (mesh_.shape().tensor == 1) return {};
  const auto sum = [&](std::span<T> grads, int64_t count) {
    return mesh_.tensor().AllReduceSum(grads.first(static_cast<size_t>(count)), "gradients of adapters");
  };
  RETURN_IF_ERROR(sum(factors_.dense().grads, plan_.dense_sums));
  return sum(factors_.experts().grads, plan_.expert_sums);
}

template class Lora<float>;
template class Lora<double>;

}  // namespace hadal::train
