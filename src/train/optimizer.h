// AdamW (arXiv 1711.05101) whose moments and work are shared out over data-parallel ranks (ZeRO stage 1,
// arXiv 1910.02054): a rank sums its piece of the gradients, updates its piece of the parameters, and all get
// them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "train/gradient_compression.h"
#include "train/layers/shard_set.h"
#include "train/ops/rows.h"

namespace hadal::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;  // of matrices; norms have none
  double clip_norm = 1;       // of all gradients together; 0: no limit
};

struct UpdateReport {
  double gradient_norm = 0;  // before clipping
  bool skipped = false;      // a gradient is not finite: nothing was changed
  int64_t bytes_reduced = 0, bytes_uncompressed = 0;  // of gradients, sent by this rank to others
};

template <typename T>
class AdamW {
 public:
  static Result<std::unique_ptr<AdamW>> Create(ShardSet<T>& params, const ProcessMesh& mesh,
                                               const AdamWOptions& options, GradientCompression compression);
  /// Bytes that Create takes for these shards.
  static uint64_t PlannedBytes(const std::vector<Shard>& shards, const ProcessMesh& mesh,
                               GradientCompression compression);

  /// One update with the gradients in `params`, each divided by `gradient_scale` (the loss scale). All ranks
  /// call it together. After it every rank has the same parameters as its replicas, whatever the number of
  /// threads.
  Result<UpdateReport> Step(ThreadPool& pool, double learning_rate, double gradient_scale);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

  /// This rank's piece [first, first + m.size()) of a group's elements, with its moments.
  struct Piece {
    typename ShardSet<T>::Group group;
    int64_t first = 0;
    std::span<T> m, v;
  };
  Piece& dense() { return dense_; }
  Piece& experts() { return experts_; }

 private:
  /// Elements of a piece that are treated alike.
  struct Run {
    int64_t first, count;  // within the piece
    bool decays, counts;   // counts: towards the norm (what several ranks hold counts once)
  };
  /// Long tensors are several runs, which threads share.
  static constexpr int64_t kRunElements = 1 << 15;
  AdamW(ShardSet<T>& params, const ProcessMesh& mesh, const AdamWOptions& options,
        GradientCompression compression);
  Status Place(typename ShardSet<T>::Group group, bool experts, T* memory);
  Status Reduce(ThreadPool& pool, Piece& piece, std::span<T> sum, UpdateReport& report);
  Status ReduceCompressed(ThreadPool& pool, Piece& piece, std::span<T> sum, UpdateReport& report);
  double SumOfSquares(ThreadPool& pool, const std::vector<Run>& runs, std::span<const T> gradient);
  void UpdatePiece(ThreadPool& pool, Piece& piece, const std::vector<Run>& runs, std::span<const T> gradient,
                   double rate, double factor);

  ShardSet<T>& params_;
  const ProcessMesh& mesh_;
  const AdamWOptions options_;
  const GradientCompression compression_;
  const RowKernels<T>& rows_;
  int64_t steps_ = 0;
  Buffer<T> memory_;  // m, v and, of pieces that have replicas, gradient sums
  ByteBuffer wire_;   // compressed gradients on their way
  Piece dense_, experts_;
  std::span<T> dense_sum_, expert_sum_;
  std::vector<Run> dense_runs_, expert_runs_;
  std::vector<double> squares_;  // of each run's gradients
};

}  // namespace hadal::train
