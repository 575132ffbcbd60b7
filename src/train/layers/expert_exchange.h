// Token copies on their way to the ranks that hold their experts, and back.
#pragma once

#include <span>
#include <type_traits>
#include <vector>

#include "parallel/communicator.h"
#include "train/layers/arena.h"
#include "train/ops/dispatch.h"

namespace hadal::train {

/// Ranks of `ranks` share the experts in order, E / size each. A rank sorts its copies by expert
/// (DispatchPlan over all experts), so what goes to one rank lies together; at the owner the copies are put
/// in order of expert, then source rank, then the source's order. One rank alone moves nothing.
class ExpertExchange {
 public:
  /// `rows`: tokens of a micro-batch at most, each with `choices` copies.
  ExpertExchange(Communicator& ranks, int64_t rows, int64_t choices, int64_t experts);

  /// Copies that may come to lie here at once: every rank's tokens could choose this rank's experts.
  int64_t MaxRows() const;

  /// Tells the ranks how many copies come: from the plan's counts. Before the moves of each micro-batch and
  /// layer.
  Status Agree(const DispatchPlan& plan);
  /// [local experts + 1] rows of each local expert.
  std::span<const int32_t> offsets() const { return offsets_; }
  int64_t rows() const { return offsets_.back(); }
  /// Whether rows must move at all; if not, the plan's order is the owner's.
  bool moves() const { return ranks_->size() > 1; }

  /// here [rows(), width] = the copies that others and this rank sent of theirs [plan.rows(), width].
  /// scratch: [MaxRows(), width].
  template <typename T>
  Status ToOwners(std::type_identity_t<View<const T>> mine, View<T> scratch, View<T> here, const char* what);
  /// The way back: mine [plan.rows(), width] = what the owners made of the copies.
  template <typename T>
  Status FromOwners(std::type_identity_t<View<const T>> here, View<T> scratch, View<T> mine,
                    const char* what);

 private:
  template <typename T>
  void SetBytes(int64_t width);

  Communicator* ranks_;
  int64_t experts_, local_, max_rows_;
  std::vector<int32_t> offsets_;
  std::vector<int64_t> counts_, all_counts_;     // [E] mine; [ranks, E] of all
  std::vector<int64_t> sent_, received_;         // rows to and from each rank
  std::vector<int64_t> sent_bytes_, received_bytes_;
  std::vector<int32_t> place_;                   // [rows()]: the row among experts of the i-th that came
};

}  // namespace hadal::train
