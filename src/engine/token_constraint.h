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
  /// The tokens that may come next, one bit an id, lowest bits first; ids beyond the last word may not. Valid
  /// until the next call. Some bit is set, or there is an error; call it only if not MustEnd().
  virtual Result<std::span<const uint64_t>> Allowed() = 0;
  /// Takes a token that was drawn from Allowed() and did not end the generation.
  virtual void Accept(int32_t token) = 0;
  /// Whether nothing may follow any more: the generation is complete.
  virtual bool MustEnd() const = 0;
};

}  // namespace hadal
