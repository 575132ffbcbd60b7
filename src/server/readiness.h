// Whether the service may get traffic, and why not: what /readyz says.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "engine/engine_loop.h"

namespace hadal {

/// Loading, then verified (Loaded), then draining; never back. Thread-safe.
class Readiness {
 public:
  void SetProgress(uint64_t done, uint64_t total);
  /// The weights are in memory. `bytes` were read; every tensor that the configuration calls for was there,
  /// with the type and shape it must have and within its file. (Plain safetensors files carry no checksum of
  /// their contents.)
  void Loaded(uint64_t bytes);
  void Drain() { draining_ = true; }

  struct Report {
    bool ready = false;
    std::string json;  // {"status": "ready" | "loading" | "draining" | "stalled", ...}
  };
  /// `loop`: null while loading. Stalled: work is pending, and no step has ended for `stalled_after`.
  Report Now(const LoopStats* loop, std::chrono::seconds stalled_after) const;

 private:
  std::atomic<uint64_t> done_{0}, total_{0}, bytes_{0};
  std::atomic<bool> loaded_{false}, draining_{false};
};

}  // namespace hadal
