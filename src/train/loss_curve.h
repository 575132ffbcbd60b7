// The loss over a run's updates, as a picture.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hadal::train {

/// A line of at most kMostPoints points, however many are added: then neighbours become their means. What is no number is
/// left out.
class Curve {
 public:
  static constexpr size_t kMostPoints = 800;

  void Add(double x, double y);
  /// In the order in which they were added.
  std::vector<std::pair<double, double>> points() const;

 private:
  std::pair<double, double> Open() const;
  std::vector<std::pair<double, double>> points_;  // each the mean of stride_
  std::pair<double, double> sum_{};                // of those that are no point yet
  int64_t summed_ = 0, stride_ = 1;
};

/// A curve of (step, loss) for training and held-out data as SVG, on a logarithmic axis where it spans decades.
std::string LossSvg(const Curve& training, const Curve& held_out);

}  // namespace hadal::train
