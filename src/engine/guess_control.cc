#include "engine/guess_control.h"

#include <algorithm>

#include "base/check.h"

namespace hadal {
namespace {

constexpr double kWeight = 1.0 / 16;  // of the latest outcome

}  // namespace

GuessControl::GuessControl(int64_t most, double cost) : most_(most), cost_(cost) {
  HADAL_CHECK(most >= 0 && most <= kMostDrafts, "{} guesses in a step", most);
}

int64_t GuessControl::Most(int64_t generated) const {
  const auto pauses = [&](const Depth& depth) { return generated < depth.resumes; };
  const auto end = depths_.begin() + most_;
  return std::find_if(depths_.begin(), end, pauses) - depths_.begin();
}

int64_t GuessControl::Observe(int64_t guessed, int64_t right, int64_t generated) {
  int64_t fell = 0;
  for (int64_t i = 0; i < std::min(guessed, most_); ++i) {
    Depth& depth = depths_[static_cast<size_t>(i)];
    depth.rate += kWeight * ((i < right ? 1.0 : 0.0) - depth.rate);
    if (depth.rate >= (1 + cost_) / 2) depth.pause = kFirstPause;
    if (depth.rate >= cost_) continue;
    depth.resumes = generated + depth.pause;
    depth.pause = std::min(2 * depth.pause, kLongestPause);
    // When it resumes, three wrong ones in a row end the trial.
    depth.rate = std::min(1.0, cost_ / ((1 - kWeight) * (1 - kWeight)));
    ++fell;
  }
  return fell;
}

}  // namespace hadal
