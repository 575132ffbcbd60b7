// Memory for what a micro-batch keeps until its backward: taken in order, given back all at once.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/check.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace hadal::train {

/// A bump allocator of 64-byte steps. An arena without memory counts: the views that it gives have no data,
/// and used() says how much an arena must have for the same calls.
class Arena {
 public:
  Arena() = default;
  static Result<Arena> Create(uint64_t bytes, const char* what) {
    Arena arena;
    ASSIGN_OR_RETURN(arena.memory_, ByteBuffer::Allocate(bytes, what));
    return arena;
  }

  template <typename T>
  View<T> Take(int64_t rows, int64_t cols) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::byte* at = memory_.data() ? memory_.data() + used_ : nullptr;
    used_ += (static_cast<uint64_t>(rows * cols) * sizeof(T) + 63) / 64 * 64;
    HADAL_CHECK(!memory_.data() || used_ <= memory_.size(), "{} of {} bytes of an arena", used_,
                memory_.size());
    return View<T>(reinterpret_cast<T*>(at), rows, cols);
  }

  uint64_t used() const { return used_; }
  void Reset() { used_ = 0; }

 private:
  ByteBuffer memory_;
  uint64_t used_ = 0;
};

}  // namespace hadal::train
