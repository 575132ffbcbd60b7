// Where a step's time goes, by the part of the model.
#pragma once

#include <array>
#include <chrono>

namespace hadal::train {

enum class StepPart {
  kRest,       // norms, rotations, sums, the embedding, waiting for other ranks
  kAttention,  // the core: scores, softmax, values
  kLinears,    // of attention and dense networks
  kExperts,    // router, dispatch, routed and shared experts
  kHead,       // the head's product and cross-entropy
  kOptimizer,  // gradients cleared, reduced and applied
};
inline constexpr std::array<const char*, 6> kPartNames = {"rest",    "attention", "linears",
                                                          "experts", "head",      "optimizer"};

/// Seconds by part since Reset. Of scopes within scopes the outermost counts. One thread.
class PartClock {
 public:
  using Seconds = std::array<double, kPartNames.size()>;

  void Reset() {
    seconds_ = {};
    last_ = Now();
  }
  /// Counts the time until now, too.
  const Seconds& seconds() {
    Turn(part_);
    return seconds_;
  }

  class Scope {
   public:
    /// clock: null for nobody who listens.
    Scope(PartClock* clock, StepPart part)
        : clock_(clock && clock->part_ == StepPart::kRest ? clock : nullptr) {
      if (clock_) clock_->Turn(part);
    }
    ~Scope() {
      if (clock_) clock_->Turn(StepPart::kRest);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PartClock* clock_;
  };

 private:
  using Time = std::chrono::steady_clock::time_point;
  static Time Now() { return std::chrono::steady_clock::now(); }
  void Turn(StepPart part) {
    const Time now = Now();
    seconds_[static_cast<size_t>(part_)] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
    part_ = part;
  }

  Seconds seconds_ = {};
  Time last_ = Now();
  StepPart part_ = StepPart::kRest;
};

}  // namespace hadal::train
