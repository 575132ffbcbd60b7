#include "model/convert_plan.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <unordered_set>
#include <utility>

namespace hadal {
namespace {

using Method = QuantizationConfig::Method;

/// Ragged or not, width, shard, offset.
using WritingOrder = std::tuple<bool, int, uint32_t, uint64_t>;

/// The source's order, in which all begin at a multiple of 8 as long as all are multiples of 8 bytes. Those
/// that are not come after them, wide elements first, so that few of them end up unaligned: the scales that
/// follow an odd number of FP8 codes.
WritingOrder WritingOrderOf(const ConvertStep& step) {
  const TensorInfo& source = step.copy ? *step.copy : *step.linear.values;
  const std::vector<TensorDeclaration> parts = step.Declarations();
  const bool ragged = std::any_of(parts.begin(), parts.end(), [](const TensorDeclaration& part) {
    const auto bytes = TensorBytes(part.dtype, part.shape);
    return !bytes || *bytes % 8 != 0;
  });
  return {ragged, ragged ? -DTypeBits(parts.front().dtype) : 0, source.shard, source.offset};
}

/// kInvalidArgument, with a way out, if a Linear's rows are no multiple of the group.
Status CheckGroups(const std::vector<TensorSpec>& specs, const QuantizationConfig& target) {
  if (target.method != Method::kCompressedTensors) return {};
  const auto misfit = [&](int64_t group) {
    return std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& spec) {
      return spec.kind == TensorKind::kLinear && spec.shape[1] % group != 0;
    });
  };
  const auto spec = misfit(target.group_size);
  if (spec == specs.end()) return {};
  std::string fitting = "weights in fp8 or bf16";
  for (int64_t group : {32, 64, 128})
    if (misfit(group) == specs.end()) fitting = fmt::format("a group of {}, or {}", group, fitting);
  return InvalidArgument(
      "'{}' has rows of {} values, which groups of {} do not divide ({} are left over); choose {}",
      spec->name, spec->shape[1], target.group_size, spec->shape[1] % target.group_size, fitting);
}

class ConversionPlanner {
 public:
  ConversionPlanner(const Checkpoint& checkpoint, const ModelConfig& config, const QuantizationConfig& target,
                    const LoraAdapter* adapter)
      : checkpoint_(checkpoint), config_(config), target_(target), adapter_(adapter) {}

  Status AddSpec(const TensorSpec& spec);
  /// Everything that no spec named.
  void AddOthers();
  std::vector<ConvertStep> TakeInOrder();
  /// kInvalidArgument if the adapter has something that no step adds.
  Status CheckAdapterIsUsed() const;

 private:
  bool IsAbsentCopy(const TensorSpec& spec) const;
  Status AddPlain(const TensorSpec& spec);
  Status AddLinear(const TensorSpec& spec);
  /// Whether it is copied, rather than stored as `format`.
  bool Stays(const LinearSource& source, TensorKind kind, WeightFormat format) const;
  void Copy(const TensorInfo* tensor);
  Status Encode(const TensorSpec& spec, ConvertStep step, WeightFormat format);

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const QuantizationConfig& target_;
  const LoraAdapter* adapter_;
  std::unordered_set<std::string> adapted_;  // weights that the adapter changes, as far as planned
  std::unordered_set<const TensorInfo*> used_;
  std::vector<ConvertStep> steps_;
};

/// "X" of "X.weight".
std::string BaseOf(const std::string& name) {
  return name.substr(0, name.size() - std::string_view(".weight").size());
}

bool ConversionPlanner::IsAbsentCopy(const TensorSpec& spec) const {
  return !spec.copy_of.empty() && !checkpoint_.Find(spec.name) &&
         !checkpoint_.Find(BaseOf(spec.name) + ".weight_packed");
}

void ConversionPlanner::Copy(const TensorInfo* tensor) {
  used_.insert(tensor);
  ConvertStep step;
  step.copy = tensor;
  steps_.push_back(std::move(step));
}

Status ConversionPlanner::Encode(const TensorSpec& spec, ConvertStep step, WeightFormat format) {
  ASSIGN_OR_RETURN(step.encoder, TensorEncoder::Create(spec.name, spec.shape, format, target_.group_size));
  for (const TensorInfo* part : {step.linear.values, step.linear.scales, step.linear.shape})
    used_.insert(part);
  steps_.push_back(std::move(step));
  return {};
}

Status ConversionPlanner::AddPlain(const TensorSpec& spec) {
  ASSIGN_OR_RETURN(const TensorInfo* tensor, FindPlain(checkpoint_, spec.name, spec.shape));
  Copy(tensor);
  return {};
}

bool ConversionPlanner::Stays(const LinearSource& source, TensorKind kind, WeightFormat format) const {
  if (kind != TensorKind::kLinear) return !source.scales;
  if (source.format != format) return false;
  if (format == WeightFormat::kFp8) return source.block_rows == kFp8Block && source.block_cols == kFp8Block;
  return !source.packed() || source.block_cols == target_.group_size;
}

Status ConversionPlanner::AddLinear(const TensorSpec& spec) {
  ConvertStep step;
  ASSIGN_OR_RETURN(step.linear, FindLinear(checkpoint_, config_.quantization, BaseOf(spec.name),
                                           spec.shape[0], spec.shape[1]));
  const WeightFormat format = StoredFormat(spec.kind, target_);
  // A copy is changed as what it is a copy of.
  const std::string& weight = spec.copy_of.empty() ? spec.name : spec.copy_of;
  if (adapter_ && adapter_->Has(weight)) {
    RETURN_IF_ERROR(adapter_->CheckShape(weight, spec.shape[0], spec.shape[1]));
    adapted_.insert(weight);
    step.adapted = weight;
    return Encode(spec, std::move(step), format);
  }
  if (!Stays(step.linear, spec.kind, format)) return Encode(spec, std::move(step), format);
  for (const TensorInfo* part : {step.linear.values, step.linear.scales, step.linear.shape})
    if (part) Copy(part);
  return {};
}

Status ConversionPlanner::AddSpec(const TensorSpec& spec) {
  if (IsAbsentCopy(spec)) return {};
  switch (spec.kind) {
    case TensorKind::kEmbedding:
    case TensorKind::kNorm:
    case TensorKind::kRouterBias:
      return AddPlain(spec);
    case TensorKind::kHead:
    case TensorKind::kLinear:
    case TensorKind::kRouter:
    case TensorKind::kMtpProjection:
      return AddLinear(spec);
  }
  return {};
}

void ConversionPlanner::AddOthers() {
  for (const TensorInfo& tensor : checkpoint_.tensors())
    if (!used_.contains(&tensor)) Copy(&tensor);
}

Status ConversionPlanner::CheckAdapterIsUsed() const {
  if (!adapter_) return {};
  for (const std::string& weight : adapter_->Weights())
    if (!adapted_.contains(weight))
      return InvalidArgument("the adapter changes '{}', which is no Linear of the model in {}; it is another model's",
                             Shown(weight), checkpoint_.path().string());
  return {};
}

std::vector<ConvertStep> ConversionPlanner::TakeInOrder() {
  std::vector<std::pair<WritingOrder, size_t>> order;
  for (size_t i = 0; i < steps_.size(); ++i) order.emplace_back(WritingOrderOf(steps_[i]), i);
  std::sort(order.begin(), order.end());
  std::vector<ConvertStep> all;
  all.reserve(steps_.size());
  for (const auto& [key, i] : order) all.push_back(std::move(steps_[i]));
  return all;
}

}  // namespace

std::vector<TensorDeclaration> ConvertStep::Declarations() const {
  if (encoder) return encoder->Declarations();
  return {{copy->name, copy->dtype, copy->shape}};
}

bool SameStorage(const QuantizationConfig& from, const QuantizationConfig& to) {
  if (from.method != to.method) return false;
  switch (to.method) {
    case Method::kNone:
      return false;
    case Method::kFp8:
      return from.block_rows == to.block_rows && from.block_cols == to.block_cols;
    case Method::kCompressedTensors:
      return from.bits == to.bits && from.group_size == to.group_size;
  }
  return false;
}

Result<std::vector<ConvertStep>> PlanConversion(const Checkpoint& checkpoint, const ModelConfig& config,
                                                const QuantizationConfig& target, const LoraAdapter* adapter) {
  ConversionPlanner planner(checkpoint, config, target, adapter);
  if (adapter || !SameStorage(config.quantization, target)) {
    ModelConfig whole = config;
    const std::string unannounced = LayerPrefix(config.num_hidden_layers);
    const auto belongs = [&](const TensorInfo& tensor) { return tensor.name.starts_with(unannounced); };
    if (config.num_nextn_predict_layers == 0 && std::ranges::any_of(checkpoint.tensors(), belongs))
      whole.num_nextn_predict_layers = 1;
    const std::vector<TensorSpec> specs = ExpectedTensors(whole);
    RETURN_IF_ERROR(CheckGroups(specs, target));
    for (const TensorSpec& spec : specs) RETURN_IF_ERROR(planner.AddSpec(spec));
    RETURN_IF_ERROR(planner.CheckAdapterIsUsed());
  }
  planner.AddOthers();
  return planner.TakeInOrder();
}

}  // namespace hadal
