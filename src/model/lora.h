// Low-rank adapters (LoRA, arXiv 2106.09685): what was learnt on top of a model, as two thin factors for each Linear.
//
//   W' = W + scale * B A        W [out, in], A [r, in], B [out, r], scale = alpha / r
//
// On disk they are a folder in the PEFT library's layout: adapter_config.json, and adapter_model.safetensors with
// base_model.model.X.lora_A.weight and base_model.model.X.lora_B.weight for each Linear X.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"
#include "model/config.h"
#include "tensor/view.h"

namespace hadal {

/// w [rows, in] += scale * b [rows, r] a [r, in]. Sums over r ascending; a row's bits depend on its rows of w and b, and
/// on a, alone.
template <typename T>
void AddLowRank(View<const T> a, View<const T> b, T scale, View<T> w);

/// One Linear's factors.
struct LoraFactors {
  int64_t rank = 0;
  float scale = 0;
  std::vector<float> a, b;  // [rank, in], [out, rank]
};

/// What adapter_config.json says of an adapter that is written.
struct LoraDescription {
  int64_t rank = 0;
  double alpha = 0;
  std::vector<std::string> targets;  // ends of the names of its Linears: "o_proj"
  std::string base_model;            // folder it was trained on
};

inline constexpr const char* kLoraConfigName = "adapter_config.json";
inline constexpr const char* kLoraWeightsName = "adapter_model.safetensors";
/// Where the weights' file notes the fingerprint of the model that they belong to.
inline constexpr const char* kLoraBaseKey = "hadal_base";

std::string LoraConfigJson(const LoraDescription& description);

/// "model.layers.0.mlp.up_proj.lora_A.weight" for the weight "model.layers.0.mlp.up_proj.weight" and 'A'; in files
/// kLoraPrefix stands before it.
std::string LoraFactorName(std::string_view weight, char factor);
inline constexpr std::string_view kLoraPrefix = "base_model.model.";

/// Sixteen hexadecimal digits of what tells models apart and no change of weight format touches: the shape, the norms,
/// and the first rows of the embedding. (A model that was fine-tuned by an adapter has its base's.) Errors are
/// FindPlain's.
Result<std::string> ModelFingerprint(const Checkpoint& checkpoint, const ModelConfig& config);

/// An adapter's folder, opened; factors are read when asked for.
class LoraAdapter {
 public:
  /// kNotFound, kDataLoss: not such a folder. kUnsupported: a kind of adapter that W' = W + scale * B A does not
  /// describe (DoRA, trained biases, ranks of their own for some Linears). Each names the file and the key or tensor.
  static Result<LoraAdapter> Open(const Path& dir);

  /// Names of the weights that it changes, as in the model ("….o_proj.weight"), sorted.
  std::vector<std::string> Weights() const;
  bool Has(std::string_view weight) const { return sources_.contains(weight); }
  /// kInvalidArgument: the factors are not of a Linear [out, in].
  Status CheckShape(std::string_view weight, int64_t out, int64_t in) const;
  /// Precondition: Has(weight). kDataLoss: NaN or infinity.
  Result<LoraFactors> Read(std::string_view weight) const;
  /// kInvalidArgument: it was trained on another model. An adapter that does not say passes.
  Status CheckBase(const Checkpoint& checkpoint, const ModelConfig& config) const;

 private:
  struct Source {
    const TensorInfo* a = nullptr;
    const TensorInfo* b = nullptr;
  };
  LoraAdapter() = default;
  Status ReadConfig(const Path& dir);
  Status Index();

  std::unique_ptr<Checkpoint> checkpoint_;
  int64_t rank_ = 0;
  double scale_ = 0;
  std::map<std::string, Source, std::less<>> sources_;  // by the weight's name
};

}  // namespace hadal
