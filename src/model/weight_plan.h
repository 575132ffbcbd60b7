// What loading will do, before it does it: every tensor found and checked, every weight's format and place in
// memory fixed, to the byte.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/weight_packer.h"
#include "model/weights.h"

namespace hadal {

/// A part of one of the plan's buffers; 64-byte aligned.
struct Place {
  size_t buffer = 0;
  uint64_t offset = 0;
};

struct WeightPlan {
  struct Linear {
    PackJob job;
    Place values, scales;
    bool counted = true;  // false: another job reads the same bytes, and reports them
  };
  /// A norm's gain or the router's bias.
  struct Vector {
    const TensorInfo* tensor = nullptr;
    const float** target = nullptr;
    Place place;
  };
  struct Embedding {
    const TensorInfo* tensor = nullptr;
    Place place;
  };

  WeightPlan() = default;
  WeightPlan(const WeightPlan&) = delete;  // jobs point into `weights`
  WeightPlan& operator=(const WeightPlan&) = delete;

  Weights weights;  // shapes and formats; its pointers are null until Allocate
  std::vector<Linear> linears;
  std::vector<Vector> vectors;
  Embedding embedding;
  std::vector<uint64_t> buffer_bytes;  // one for what is outside of layers, then one a layer

  uint64_t TotalBytes() const;
  /// Allocates the buffers and points the weights into them.
  Status Allocate();
  std::byte* At(const Place& place) const { return weights.memory[place.buffer].data() + place.offset; }
};

/// Errors as LoadWeights has them, except for those that only the weights' bytes can show.
Result<std::unique_ptr<WeightPlan>> MakeWeightPlan(const ModelConfig& config, const Checkpoint& checkpoint,
                                                   const LoadOptions& options);

}  // namespace hadal
