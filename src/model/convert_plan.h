// What becomes of each tensor of a folder when its weight format changes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/lora.h"
#include "model/safetensors_writer.h"
#include "model/tensor_encoder.h"
#include "model/weight_source.h"

namespace hadal {

/// One tensor of the source, copied as it is, or one Linear with its parts, decoded and encoded anew.
struct ConvertStep {
  const TensorInfo* copy = nullptr;      // exactly one of copy and encoder
  std::optional<TensorEncoder> encoder;  // whose rows come from
  LinearSource linear;                   // this
  std::string adapted;                   // with the adapter's factors of this weight added; empty: none

  /// What is written, in that order.
  std::vector<TensorDeclaration> Declarations() const;
};

/// Whether a folder stored as `from` is, as a whole, one stored as `to`: both quantised, with the same bits
/// and blocks.
bool SameStorage(const QuantizationConfig& from, const QuantizationConfig& to);

/// In the order of writing: the source's on disk, but for tensors of sizes that would leave those behind them
/// unaligned, which come last. With the same storage everything is copied, to the byte. Else Linears take the
/// format of `target`, those that have it being copied. Norms, embedding, head, routers, biases and eh_proj
/// are copied in whatever floats they are stored; one that is quantised becomes BF16. Tensors that
/// config.json does not need are copied. A prediction layer that config.json does not announce is converted
/// like the others.
///
/// With an `adapter` (may be null) its Linears are all encoded anew, also with the same storage.
///
/// kInvalidArgument: the adapter changes a tensor that is no Linear of the model, or of another shape; a Linear's rows are no multiple of target's group, which other engines cannot read; the
/// message says what fits. Else FindLinear's and FindPlain's errors.
Result<std::vector<ConvertStep>> PlanConversion(const Checkpoint& checkpoint, const ModelConfig& config,
                                                const QuantizationConfig& target, const LoraAdapter* adapter);

}  // namespace hadal
