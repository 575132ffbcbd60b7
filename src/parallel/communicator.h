// Collectives among the ranks that run one model. The forward pass is written against this interface; a transport
// (MPI, NCCL) implements it, and one process alone is the loopback.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.h"
#include "tensor/view.h"

namespace hadal {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// x[t][i] = the sum over ranks of their x[t][i], added in rank order, so that every rank gets the same bits whatever
  /// the timing. All ranks call with the same shape. kUnavailable names the rank that did not answer.
  virtual Status AllReduceSum(View<float> x) = 0;
  /// Returns when every rank has called it.
  virtual Status Barrier() = 0;
};

/// One rank: every collective is already done. Thread-safe, allocates nothing.
class LoopbackCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Status AllReduceSum(View<float>) override { return {}; }
  Status Barrier() override { return {}; }
};

}  // namespace hadal
