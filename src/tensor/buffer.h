// Owned memory for numbers: aligned, counted, and refused instead of overcommitted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "base/status.h"
#include "tensor/view.h"

namespace hadal {

/// Bytes aligned to 64 (to 2 MiB and backed by huge pages where large), zeroed, movable, freed by the destructor.
class ByteBuffer {
 public:
  ByteBuffer() = default;
  /// kResourceExhausted, naming `what`, if the memory cannot be had.
  static Result<ByteBuffer> Allocate(uint64_t bytes, const char* what);
  ByteBuffer(ByteBuffer&& other) noexcept { *this = std::move(other); }
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~ByteBuffer();

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

/// `count` elements of T in a ByteBuffer.
template <typename T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  static Result<Buffer> Allocate(int64_t count, const char* what) {
    HADAL_CHECK(count >= 0, "{} elements of {}", count, what);
    ASSIGN_OR_RETURN(ByteBuffer bytes, ByteBuffer::Allocate(static_cast<uint64_t>(count) * sizeof(T), what));
    Buffer buffer;
    buffer.bytes_ = std::move(bytes);
    buffer.count_ = count;
    return buffer;
  }

  T* data() const { return reinterpret_cast<T*>(bytes_.data()); }
  int64_t size() const { return count_; }
  T& operator[](int64_t i) const { return data()[i]; }
  View<T> view(int64_t rows, int64_t cols) const {
    HADAL_CHECK(rows * cols <= count_, "{} x {} of {} elements", rows, cols, count_);
    return View<T>(data(), rows, cols);
  }

 private:
  ByteBuffer bytes_;
  int64_t count_ = 0;
};

}  // namespace hadal
