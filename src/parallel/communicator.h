// Collectives among the ranks that run one model. Forward pass and training are written against this interface;
// a transport (threads of one process, MPI) implements its few primitives, and one process alone is the loopback.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace hadal {

/// One thread of a rank calls, and all ranks call the same operations in the same order with the same sizes.
/// `what` names the operation's purpose in errors ("gradients of stage 1"); it must outlive the call.
///
/// Errors are kUnavailable and name the rank that did not answer within the transport's time limit.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// all [size * mine.size()] = the ranks' `mine`, in rank order.
  virtual Status AllGather(std::span<const std::byte> mine, std::span<std::byte> all, const char* what) = 0;
  /// Sends `send_bytes[r]` bytes to each rank r and receives `receive_bytes[r]` from it; both buffers hold the
  /// ranks' parts one after another in rank order. What r sends here is as long as what this expects of it.
  virtual Status AllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                          std::span<const int64_t> receive_bytes, const char* what) = 0;
  /// Returns when `bytes` may be changed; the receiver need not have called yet. Messages between two ranks
  /// arrive in order.
  virtual Status Send(int to, std::span<const std::byte> bytes, const char* what) = 0;
  virtual Status Receive(int from, std::span<std::byte> bytes, const char* what) = 0;
  /// Returns when every rank has called it.
  virtual Status Barrier(const char* what) = 0;
  /// From now to this rank's next operation, or to Worked, the others wait for it without a limit as long as it lives: it
  /// does long work of its own. Where the transport has no records of its ranks the limit stays.
  virtual void Works(const char*) {}
  virtual void Worked() {}
  /// The ranks that give the same `color`, ordered by `key` (then by rank), as a communicator of their own.
  virtual Result<std::unique_ptr<Communicator>> Split(int color, int key) = 0;

  /// x[i] = the sum over ranks of their x[i], added in rank order, so that every rank gets the same bits
  /// whatever the timing. No memory is taken but a staging buffer of 1 MiB, once.
  Status AllReduceSum(std::span<float> x, const char* what);
  Status AllReduceSum(std::span<double> x, const char* what);
  Status AllReduceSum(std::span<int64_t> x, const char* what);
  Status AllReduceSum(View<float> x);
  Status AllReduceMax(std::span<float> x, const char* what);
  Status AllReduceMax(std::span<double> x, const char* what);

  /// piece [n] = this rank's n of the sum over ranks of x [size * n], added in rank order.
  Status ReduceScatterSum(std::span<const float> x, std::span<float> piece, const char* what);
  Status ReduceScatterSum(std::span<const double> x, std::span<double> piece, const char* what);

 private:
  template <typename T, typename Combine>
  Status AllReduce(std::span<T> x, Combine combine, const char* what);
  template <typename T>
  Status ReduceScatter(std::span<const T> x, std::span<T> piece, const char* what);
  Status Stage();

  ByteBuffer staging_;
};

/// Long work of a rank's own, as long as it lives: nothing that communicates.
class LongWork {
 public:
  LongWork(Communicator& world, const char* what) : world_(world) { world_.Works(what); }
  ~LongWork() { world_.Worked(); }
  LongWork(const LongWork&) = delete;
  LongWork& operator=(const LongWork&) = delete;

 private:
  Communicator& world_;
};

/// One rank: every collective is already done. Thread-safe, allocates nothing.
class LoopbackCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Status AllGather(std::span<const std::byte> mine, std::span<std::byte> all, const char* what) override;
  Status AllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t> receive_bytes, const char* what) override;
  /// There is no other rank: both are broken promises.
  Status Send(int to, std::span<const std::byte> bytes, const char* what) override;
  Status Receive(int from, std::span<std::byte> bytes, const char* what) override;
  Status Barrier(const char*) override { return {}; }
  Result<std::unique_ptr<Communicator>> Split(int color, int key) override;
};

/// The bytes of numbers, for the primitives above.
template <typename T>
std::span<const std::byte> BytesOf(std::span<const T> x) {
  return std::as_bytes(x);
}
template <typename T>
std::span<std::byte> BytesOf(std::span<T> x) {
  return std::as_writable_bytes(x);
}

}  // namespace hadal
