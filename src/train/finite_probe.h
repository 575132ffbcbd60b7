// Finds the first place where a value is no number.
#pragma once

#include <cmath>
#include <string>

#include "train/layers/layer_context.h"
#include "train/layers/parameters.h"

namespace hadal::train {

template <typename T>
class FiniteProbe final : public Probe<T> {
 public:
  void See(std::string_view op, int64_t layer, View<const T> value) override {
    if (!found_.empty()) return;
    const int64_t at = FirstBad(value);
    if (at < 0) return;
    const int64_t row = at / value.cols, col = at % value.cols;
    found_ = layer < 0 ? fmt::format("'{}'", op) : fmt::format("'{}' of layer {}", op, layer);
    found_ += fmt::format(" (row {}, column {}: {})", row, col, static_cast<double>(value.at(row, col)));
  }

  void SeeParameters(const ShardSet<T>& params) {
    for (size_t i = 0; i < params.shards().size() && found_.empty(); ++i) {
      const int64_t at = FirstBad(View<const T>(params.parameter(i).value));
      if (at >= 0) found_ = fmt::format("the parameter {} (element {} of this rank's part)", params.shards()[i].name, at);
    }
  }

  /// kDataLoss with what the first rank of the earliest stage saw; all ranks get the same. Always an error.
  Status Report(const ProcessMesh& mesh, int64_t step) const {
    constexpr size_t kLength = 256;
    std::string mine = found_.substr(0, kLength - 1);
    mine.resize(kLength, '\0');
    std::string all(kLength * static_cast<size_t>(mesh.world().size()), '\0');
    RETURN_IF_ERROR(mesh.world().AllGather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)),
                                           "what was no number"));
    for (int r = 0; r < mesh.world().size(); ++r) {
      const std::string text = all.c_str() + kLength * static_cast<size_t>(r);
      // Ranks are in order of stages; a later one sees what came to it.
      if (text.empty() || text.starts_with("'input from the stage before'")) continue;
      return DataLoss("step {}: the loss is not finite; the first value that is no number was in {}, on rank {}; look "
                      "at the data of this step, lower the learning rate, or resume from a checkpoint before it",
                      step, text, r);
    }
    return DataLoss("step {}: the loss is not finite, although every intermediate of the forward pass is", step);
  }

 private:
  static int64_t FirstBad(View<const T> x) {
    for (int64_t r = 0; r < x.rows; ++r)
      for (int64_t c = 0; c < x.cols; ++c)
        if (!std::isfinite(x.at(r, c))) return r * x.cols + c;
    return -1;
  }
  std::string found_;
};

}  // namespace hadal::train
