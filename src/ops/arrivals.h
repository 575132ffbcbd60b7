// When the requests of an open loop are sent: not when the server is ready for them, but when users come.
#pragma once

#include <cstdint>

namespace hadal {

enum class ArrivalKind { kPoisson, kConstant };

/// The times at which requests arrive, ascending, in seconds from the start. The same rate and seed give the
/// same times on every machine.
class Arrivals {
 public:
  /// `rate`: requests a second, above 0.
  Arrivals(ArrivalKind kind, double rate, uint64_t seed) : kind_(kind), rate_(rate), seed_(seed) {}

  double Next();

 private:
  ArrivalKind kind_;
  double rate_;
  uint64_t seed_;
  uint64_t index_ = 0;
  double time_ = 0;
};

}  // namespace hadal
