// What an op needs besides its operands: kernels, threads and scratch memory. Passed, never global.
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernel_table.h"
#include "tensor/buffer.h"

namespace hadal {

/// Largest operands that ops will see; scratch is allocated from these once, and ops allocate nothing.
struct OpLimits {
  int64_t prepared_bytes = 0; // of the rows that one Linears call prepares: sum of PreparedBytesBound
  int64_t jobs = 0;           // Linears that run as one
  int64_t prompt_run = 0;     // consecutive prompt tokens of one sequence in one step
  int64_t context = 0;        // positions a token may attend to
  int64_t nope = 0, rope = 0, value = 0, latent = 0;
};

/// Bytes that `rows` prepared rows of `width` values take at most, whatever the weight's format: 4 a value with
/// padding to a group, and a scale and a sum for each 32.
constexpr int64_t PreparedBytesBound(int64_t rows, int64_t width) { return rows * (width * 5 + 1024); }

/// Input formats that the Linears of one input may differ in: f32, bf16, and int8 in two groups.
constexpr int64_t kDistinctInputs = 4;

class ExecContext {
 public:
  /// `kernels` and `pool` must outlive the context.
  static Result<ExecContext> Create(const KernelTable& kernels, ThreadPool& pool, const OpLimits& limits);
  /// The bytes Create will allocate.
  static uint64_t PlannedBytes(const OpLimits& limits, int threads);

  const KernelTable& kernels() const { return *kernels_; }
  ThreadPool& pool() const { return *pool_; }
  const OpLimits& limits() const { return limits_; }

  /// Scratch shared by the op that runs (ops run one at a time): prepared rows, or partial attention results.
  std::byte* shared() const { return shared_.data(); }
  uint64_t shared_bytes() const { return shared_.size(); }
  /// Scratch of one worker.
  float* worker(int index) const { return workers_.data() + index * worker_floats_; }
  int64_t worker_floats() const { return worker_floats_; }

  struct JobPlan {
    PanelWeight weight;
    const std::byte* prepared;  // of the job's input rows
    int64_t row_bytes;
    int64_t first_unit;
    bool first_of_input;        // this job's input is prepared; later jobs with the same input reuse it
  };
  std::vector<JobPlan>& job_plans() { return job_plans_; }

 private:
  ExecContext() = default;
  const KernelTable* kernels_ = nullptr;
  ThreadPool* pool_ = nullptr;
  OpLimits limits_;
  ByteBuffer shared_;
  Buffer<float> workers_;
  int64_t worker_floats_ = 0;
  std::vector<JobPlan> job_plans_;
};

}  // namespace hadal
