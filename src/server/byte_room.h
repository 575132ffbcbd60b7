// A number of bytes that many users share: bodies that are here, responses that are being made.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace hadal {

/// Counts what is in use against a limit. Thread-safe, never blocks.
class ByteRoom {
 public:
  explicit ByteRoom(size_t limit) : limit_(limit) {}

  bool Fits(size_t bytes) const {
    const size_t used = used_;
    return bytes <= limit_ && used <= limit_ - bytes;
  }
  size_t used() const { return used_; }
  size_t limit() const { return limit_; }
  /// Counts bytes whose user is another's member, whatever the limit says.
  void Add(size_t bytes) { used_ += bytes; }
  void Remove(size_t bytes) { used_ -= bytes; }

  /// What one user has of a room; given back at its end, wherever that is, so the room lives as long.
  class Share {
   public:
    Share() = default;
    explicit Share(std::shared_ptr<ByteRoom> room) : room_(std::move(room)) {}
    Share(Share&& other) noexcept : room_(std::move(other.room_)), bytes_(std::exchange(other.bytes_, 0)) {}
    Share& operator=(Share&& other) noexcept {
      Set(0);
      room_ = std::move(other.room_);
      bytes_ = std::exchange(other.bytes_, 0);
      return *this;
    }
    ~Share() { Set(0); }

    /// Whatever the limit says. Without a room nothing is counted.
    void Set(size_t bytes) {
      if (!room_) return;
      room_->used_ += bytes - bytes_;  // unsigned: takes away where it is less
      bytes_ = bytes;
    }
    /// Only if there is room for it.
    bool TrySet(size_t bytes) {
      if (!room_) return true;
      const size_t more = bytes - bytes_;
      const size_t before = room_->used_.fetch_add(more);
      if (bytes > bytes_ && (more > room_->limit_ || before > room_->limit_ - more)) {
        room_->used_ -= more;
        return false;
      }
      bytes_ = bytes;
      return true;
    }
    size_t bytes() const { return bytes_; }

   private:
    std::shared_ptr<ByteRoom> room_;
    size_t bytes_ = 0;
  };

 private:
  const size_t limit_;
  std::atomic<size_t> used_{0};
};

}  // namespace hadal
