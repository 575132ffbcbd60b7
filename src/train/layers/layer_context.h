// What a layer's forward and backward need besides parameters and activations. Passed, never global.
#pragma once

#include <string_view>

#include "model/config.h"
#include "parallel/process_mesh.h"
#include "train/layers/micro_batch.h"
#include "train/ops/context.h"
#include "train/ops/rope.h"

namespace hadal::train {

/// Looks at every intermediate, and at the gradient of each, in order: to find the first op that gave
/// something that is no number.
template <typename T>
class Probe {
 public:
  virtual ~Probe() = default;
  /// layer: as in tensor names; -1: outside the layers.
  virtual void See(std::string_view op, int64_t layer, View<const T> value) = 0;
  /// The gradient of what `op` gave.
  virtual void SeeGradient(std::string_view op, int64_t layer, View<const T> gradient) = 0;
};

/// What backward keeps of the forward: everything; what attention and router gave, without the wide
/// intermediates; or a layer's input alone. The rest is computed again, with the same bits.
enum class Checkpointing { kNone, kSelective, kFull };

template <typename T>
struct LayerContext {
  OpContext ops;
  const ModelConfig* config;
  const ProcessMesh* mesh;
  const RotaryTable<T>* rope;
  const MicroBatch* batch;
  Probe<T>* probe = nullptr;
  /// Factor of the balance loss of each sequence, loss scale included.
  double balance = 0;

  void See(std::string_view op, int64_t layer, View<const T> value) const {
    if (probe) probe->See(op, layer, value);
  }
  void SeeGradient(std::string_view op, int64_t layer, View<const T> gradient) const {
    if (probe) probe->SeeGradient(op, layer, gradient);
  }
};

/// What layers add up over micro-batches, beside gradients.
struct LayerStatistics {
  std::vector<int64_t> choices;  // [E], how often each expert was chosen
  int64_t dropped = 0;           // copies beyond an expert's capacity
  double balance_loss = 0;       // times LayerContext::balance
};

}  // namespace hadal::train
