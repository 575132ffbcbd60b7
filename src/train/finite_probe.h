// Finds the first place where a value, or the gradient of one, is no number.
#pragma once

#include <string>
#include <string_view>

#include "train/layers/layer_context.h"
#include "train/layers/shard_set.h"

namespace hadal::train {

template <typename T>
class FiniteProbe final : public Probe<T> {
 public:
  void See(std::string_view op, int64_t layer, View<const T> value) override;
  void SeeGradient(std::string_view op, int64_t layer, View<const T> gradient) override;
  /// Parameters before the step; what they are made from is not looked for.
  void SeeParameters(const ShardSet<T>& params);
  /// The parameters' gradients, summed over a rank's micro-batches.
  void SeeGradients(const ShardSet<T>& params);

  /// kDataLoss: `what` ("the loss") of this step is no number, and what the first rank saw on the way: of
  /// values the earliest stage, of gradients the last. All ranks get the same. Always an error.
  Status Report(const ProcessMesh& mesh, int64_t step, std::string_view what) const;

 private:
  void Note(std::string_view kind, std::string_view op, int64_t layer, View<const T> value);
  std::string found_;
};

}  // namespace hadal::train
