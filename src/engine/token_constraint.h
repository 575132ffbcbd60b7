// What may restrict the tokens of one generation.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"

namespace hadal {

/// Belongs to one request and is used by one thread at a time. What it allows depends on the tokens it was
/// given alone.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  /// Works on what may come next, for about `work` steps at most (2 to 5 ns each), which it takes from `work`. True
  /// once Allowed() is there without more work, or MustEnd() holds; false if it takes more: call it again. An error:
  /// no token may come. However the work is cut, the outcome is the same. Without an override: there is none.
  virtual Result<bool> Prepare(int64_t& /*work*/) { return true; }
  /// The tokens that may come next, one bit an id, lowest bits first; ids beyond the last word may not. Valid
  /// until the next call. Some bit is set, or there is an error; call it only if not MustEnd(). Does all the work that
  /// is left.
  virtual Result<std::span<const uint64_t>> Allowed() = 0;
  /// Takes a token that was drawn from Allowed() and did not end the generation.
  virtual void Accept(int32_t token) = 0;
  /// Whether nothing may follow any more: the generation is complete.
  virtual bool MustEnd() const = 0;
  /// Gives back memory whose contents can be computed again; what is allowed stays the same.
  virtual void Rest() {}
};

}  // namespace hadal
