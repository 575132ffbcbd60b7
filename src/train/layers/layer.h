// One transformer layer, forward and backward: x + attention(norm(x)), then + network(norm(.)).
#pragma once

#include <optional>

#include "train/layers/attention_block.h"
#include "train/layers/moe_block.h"
#include "train/layers/network_block.h"

namespace hadal::train {

/// A layer's activations of one micro-batch. What checkpointing keeps is the micro-batch's own; the rest is
/// computed again, into memory that all layers share.
template <typename T>
struct LayerSaved {
  View<T> x;                // [T, d], the input: always kept
  View<T> mid;              // [T, d], after attention; kept but under kFull
  View<T> normed, rstd;     // [T, d], [T, 1]: mid after its norm; rebuilt
  AttentionSaved<T> attention;
  std::optional<NetworkSaved<T>> dense;
  std::optional<MoeSaved<T>> moe;
};

/// What all layers of a stage share while one of them runs.
template <typename T>
struct LayerWorkspace {
  View<T> branch;   // [T, d]
  View<T> dnormed;  // [T, d]
  AttentionGradients<T> attention;
  View<T> dgate, dup;  // [T, width] of a dense network
  std::optional<MoeWorkspace<T>> moe;
  LayerSaved<T> rebuilt[2];  // under checkpointing: of a dense layer, of one with experts; x is not used
};

/// Takes memory for layers: `kind` says which tensors there are.
template <typename T>
class LayerMemory {
 public:
  /// `rows` tokens of a micro-batch. `dense`, `experts`: which kinds of layers the stage has.
  LayerMemory(const ModelConfig& config, const ProcessMesh& mesh, int64_t rows, Checkpointing mode);
  /// What layer `layer` keeps in a slot; its x is not taken, it is the output of what came before.
  LayerSaved<T> TakeSaved(Arena& arena, int64_t layer) const;
  /// Everything of a layer, whatever the mode.
  LayerSaved<T> TakeWhole(Arena& arena, int64_t layer) const;
  /// `layers`: ids of all layers that will run with it.
  LayerWorkspace<T> TakeWorkspace(Arena& arena, std::span<const int64_t> layers) const;
  Checkpointing mode() const { return mode_; }

 private:
  void TakeKept(Arena& arena, bool experts, LayerSaved<T>& saved) const;
  void TakeRebuilt(Arena& arena, bool experts, LayerSaved<T>& saved) const;
  const ModelConfig& config_;
  const ProcessMesh& mesh_;
  int64_t rows_, heads_;
  Checkpointing mode_;
};

/// out [T, d] = the layer's output of saved.x. `saved` as the mode keeps it; `out` may not overlap it.
template <typename T>
Status LayerForward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                    Checkpointing mode, LayerSaved<T>& saved, LayerWorkspace<T>& work, View<T> out,
                    LayerStatistics& statistics);
/// d [T, d]: the gradient of the output in, of saved.x out. Parameters' gradients are added.
template <typename T>
Status LayerBackward(const LayerContext<T>& ctx, int64_t layer, const LayerParameters<T>& p,
                     Checkpointing mode, LayerSaved<T>& saved, LayerWorkspace<T>& work, View<T> d,
                     LayerStatistics& statistics);

}  // namespace hadal::train
