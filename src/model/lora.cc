#include "model/lora.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "model/config_writer.h"
#include "model/json_object.h"
#include "model/tensor_names.h"
#include "model/weight_reader.h"
#include "model/weight_source.h"

namespace hadal {
namespace {

constexpr std::string_view kWeightTail = ".weight";
constexpr int64_t kMaxRank = 1 << 16;
constexpr int64_t kFingerprintRows = 64;  // of the embedding

/// kUnsupported if `key` holds a map with something in it.
Status RefuseMap(const JsonObject& json, std::string_view key) {
  if (!json.Has(key)) return {};
  ASSIGN_OR_RETURN(const JsonObject map, json.Object(key));
  if (map.Keys().empty()) return {};
  return Unsupported("{}: {} is {}; expected an adapter whose Linears all have one rank and alpha", json.where(), key,
                     json.Written(key));
}

Status RefuseTrue(const JsonObject& json, std::string_view key) {
  ASSIGN_OR_RETURN(const bool set, json.BoolOr(key, false));
  if (!set) return {};
  return Unsupported("{}: {} is true; only plain LoRA, W + alpha / r * B A, can be merged", json.where(), key);
}

/// Adds elements [0, count) of a plain tensor, as floats.
Status AddTensor(WeightReader& reader, const TensorInfo& tensor, int64_t count, Checksum& sum) {
  // Whole words but for the last piece of all.
  std::vector<float> values(static_cast<size_t>(count + count % 2));
  RETURN_IF_ERROR(reader.ReadFloats(tensor, 0, count, values.data()));
  sum.Add(std::as_bytes(std::span(values)));
  return {};
}

}  // namespace

template <typename T>
void AddLowRank(View<const T> a, View<const T> b, T scale, View<T> w) {
  HADAL_CHECK(a.rows == b.cols && b.rows == w.rows && a.cols == w.cols, "[{}, {}] + [{}, {}] x [{}, {}]", w.rows, w.cols,
              b.rows, b.cols, a.rows, a.cols);
  constexpr int64_t kChunk = 256;
  T sum[kChunk];
  for (int64_t row = 0; row < w.rows; ++row)
    for (int64_t first = 0; first < w.cols; first += kChunk) {
      const int64_t n = std::min(kChunk, w.cols - first);
      std::fill_n(sum, n, T{});
      for (int64_t k = 0; k < a.rows; ++k) {
        const T factor = b.at(row, k);
        const T* from = a.row(k) + first;
        for (int64_t i = 0; i < n; ++i) sum[i] += factor * from[i];
      }
      T* out = w.row(row) + first;
      for (int64_t i = 0; i < n; ++i) out[i] += scale * sum[i];
    }
}

template void AddLowRank(View<const float>, View<const float>, float, View<float>);
template void AddLowRank(View<const double>, View<const double>, double, View<double>);

std::string LoraConfigJson(const LoraDescription& d) {
  const nlohmann::ordered_json json = {{"peft_type", "LORA"},
                                       {"task_type", "CAUSAL_LM"},
                                       {"base_model_name_or_path", d.base_model},
                                       {"r", d.rank},
                                       {"lora_alpha", d.alpha},
                                       {"lora_dropout", 0.0},
                                       {"target_modules", d.targets},
                                       {"bias", "none"},
                                       {"fan_in_fan_out", false},
                                       {"init_lora_weights", true},
                                       {"inference_mode", true},
                                       {"modules_to_save", nullptr}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string LoraFactorName(std::string_view weight, char factor) {
  return fmt::format("{}.lora_{}.weight", weight.substr(0, weight.size() - kWeightTail.size()), factor);
}

Result<std::string> ModelFingerprint(const Checkpoint& checkpoint, const ModelConfig& config) {
  ModelConfig shape = config;
  shape.quantization = {};
  Checksum sum;
  std::string text = ConfigJson(shape);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  sum.Add(std::as_bytes(std::span(text)));
  WeightReader reader(checkpoint);
  for (const TensorSpec& spec : ExpectedTensors(shape)) {
    if (spec.kind != TensorKind::kNorm && spec.name != "model.embed_tokens.weight") continue;
    ASSIGN_OR_RETURN(const TensorInfo* tensor, FindPlain(checkpoint, spec.name, spec.shape));
    const int64_t rows = spec.kind == TensorKind::kNorm ? 1 : std::min(spec.shape[0], kFingerprintRows);
    RETURN_IF_ERROR(AddTensor(reader, *tensor, rows * spec.shape.back(), sum));
  }
  return fmt::format("{:016x}", sum.value());
}

Status LoraAdapter::ReadConfig(const Path& dir) {
  const Path path = dir / kLoraConfigName;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(text, path.string()));
  const JsonObject& json = document.root();
  ASSIGN_OR_RETURN(const std::string type, json.Text("peft_type"));
  if (type != "LORA") return Unsupported("{}: peft_type is {}, expected LORA", json.where(), json.Written("peft_type"));
  ASSIGN_OR_RETURN(const std::string bias, json.TextOr("bias", "none"));
  if (bias != "none") return Unsupported("{}: bias is {}, expected none", json.where(), json.Written("bias"));
  for (const char* key : {"use_dora", "fan_in_fan_out"}) RETURN_IF_ERROR(RefuseTrue(json, key));
  for (const char* key : {"rank_pattern", "alpha_pattern"}) RETURN_IF_ERROR(RefuseMap(json, key));
  ASSIGN_OR_RETURN(rank_, json.Int("r", 1, kMaxRank));
  ASSIGN_OR_RETURN(const double alpha, json.Number("lora_alpha", -1e9, 1e9));
  ASSIGN_OR_RETURN(const bool by_root, json.BoolOr("use_rslora", false));  // arXiv 2312.03732
  scale_ = alpha / (by_root ? std::sqrt(static_cast<double>(rank_)) : static_cast<double>(rank_));
  return {};
}

Status LoraAdapter::Index() {
  for (const TensorInfo& tensor : checkpoint_->tensors()) {
    std::string_view name = tensor.name;
    const bool is_a = name.ends_with(".lora_A.weight"), is_b = name.ends_with(".lora_B.weight");
    if (!name.starts_with(kLoraPrefix) || (!is_a && !is_b))
      return Unsupported("{}: tensor '{}'; expected {}X.lora_A.weight and {}X.lora_B.weight alone",
                         checkpoint_->path().string(), Shown(name), kLoraPrefix, kLoraPrefix);
    const bool floats = tensor.dtype == DType::kF32 || tensor.dtype == DType::kBF16 || tensor.dtype == DType::kF16;
    if (!floats || tensor.shape.size() != 2 || tensor.shape[is_a ? 0 : 1] != rank_)
      return DataLoss("{}: '{}' is {} {}, expected floats {} of the rank {} in {}", checkpoint_->path().string(),
                      Shown(name), DTypeName(tensor.dtype), ShapeText(tensor.shape), is_a ? "[r, in]" : "[out, r]", rank_,
                      kLoraConfigName);
    name.remove_prefix(kLoraPrefix.size());
    name.remove_suffix(std::string_view(".lora_A.weight").size());
    Source& source = sources_[std::string(name) + std::string(kWeightTail)];
    (is_a ? source.a : source.b) = &tensor;
  }
  for (const auto& [weight, source] : sources_)
    if (!source.a || !source.b)
      return DataLoss("{}: '{}' is missing, the other factor is there", checkpoint_->path().string(),
                      Shown(LoraFactorName(weight, source.a ? 'B' : 'A')));
  if (sources_.empty()) return DataLoss("{} has no tensors", checkpoint_->path().string());
  return {};
}

Result<LoraAdapter> LoraAdapter::Open(const Path& dir) {
  LoraAdapter adapter;
  RETURN_IF_ERROR(adapter.ReadConfig(dir));
  ASSIGN_OR_RETURN(adapter.checkpoint_, Checkpoint::OpenFile(dir / kLoraWeightsName));
  RETURN_IF_ERROR(adapter.Index());
  return adapter;
}

std::vector<std::string> LoraAdapter::Weights() const {
  std::vector<std::string> names;
  for (const auto& [weight, source] : sources_) names.push_back(weight);
  return names;
}

Status LoraAdapter::CheckShape(std::string_view weight, int64_t out, int64_t in) const {
  const Source& source = sources_.find(weight)->second;
  if (source.a->shape[1] == in && source.b->shape[0] == out) return {};
  return InvalidArgument("the adapter {} has factors {} and {} for '{}', which is [{}, {}] in the model; it is another "
                         "model's", checkpoint_->path().parent_path().string(), ShapeText(source.b->shape),
                         ShapeText(source.a->shape), Shown(weight), out, in);
}

Result<LoraFactors> LoraAdapter::Read(std::string_view weight) const {
  const auto found = sources_.find(weight);
  HADAL_CHECK(found != sources_.end(), "no factors of {}", weight);
  const TensorInfo &a = *found->second.a, &b = *found->second.b;
  LoraFactors factors{.rank = rank_, .scale = static_cast<float>(scale_), .a = {}, .b = {}};
  factors.a.resize(static_cast<size_t>(a.shape[0] * a.shape[1]));
  factors.b.resize(static_cast<size_t>(b.shape[0] * b.shape[1]));
  WeightReader reader(*checkpoint_);
  RETURN_IF_ERROR(reader.ReadFloats(a, 0, a.shape[0] * a.shape[1], factors.a.data()));
  RETURN_IF_ERROR(reader.ReadFloats(b, 0, b.shape[0] * b.shape[1], factors.b.data()));
  return factors;
}

Status LoraAdapter::CheckBase(const Checkpoint& checkpoint, const ModelConfig& config) const {
  const auto noted = checkpoint_->metadata().find(kLoraBaseKey);
  if (noted == checkpoint_->metadata().end()) return {};
  ASSIGN_OR_RETURN(const std::string mine, ModelFingerprint(checkpoint, config));
  if (mine == noted->second) return {};
  return InvalidArgument("the adapter {} was trained on another model: its base has the fingerprint {}, {} has {}",
                         checkpoint_->path().parent_path().string(), Shown(noted->second),
                         checkpoint.path().string(), mine);
}

}  // namespace hadal
