// Numbers that one rank trains: which part of which tensor, and where it lies in memory.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/tensor_names.h"
#include "parallel/process_mesh.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace hadal::train {

/// A rank's part of one tensor: rows [row, row + rows) and columns [col, col + cols) of the tensor as a
/// matrix (a norm is one row).
struct Shard {
  std::string name;
  TensorKind kind;
  int64_t full_rows = 0, full_cols = 0;
  int64_t row = 0, rows = 0, col = 0, cols = 0;
  bool expert = false;  // a routed expert's: reduced over the ranks that hold the same experts
  bool replicated = false;  // every tensor-parallel rank holds the same; sums over ranks count it once
  /// A second copy on the last stage of what the first stage has (the embedding, for prediction layers and
  /// tied heads); the gradients of both are added.
  bool copy = false;

  int64_t elements() const { return rows * cols; }
  bool whole() const { return rows == full_rows && cols == full_cols; }
};

/// Random values with mean 0 for a shard: the same for any split of the tensor, each by its place in the
/// whole.
template <typename T>
void FillRandom(const Shard& s, uint64_t seed, float deviation, View<T> out);

/// A tensor's part in memory: value and gradient, [rows, cols].
template <typename T>
struct Parameter {
  View<T> value, grad;
  View<const T> weight() const { return value; }
  /// Of a norm.
  const T* gain() const { return value.data; }
};

/// Elements of the dense shards or of the routed experts', padded so that their replicas' equal pieces hold
/// them.
int64_t GroupElements(const std::vector<Shard>& shards, bool experts, const ProcessMesh& mesh);
/// Of both groups: of values, and of gradients.
int64_t PlannedElements(const std::vector<Shard>& shards, const ProcessMesh& mesh);

/// Values and gradients of a rank's shards in two flat buffers, the dense ones first, then the routed
/// experts'; each of the two groups is padded with zeros to a multiple of its data-parallel ranks, so that it
/// can be cut into equal pieces.
template <typename T>
class ShardSet {
 public:
  /// All zero. Within its group a shard lies where it stands among `shards`.
  static Result<ShardSet> Create(std::vector<Shard> shards, const ProcessMesh& mesh);

  const std::vector<Shard>& shards() const { return shards_; }
  /// Of shards()[i].
  const Parameter<T>& parameter(size_t i) const { return parameters_[i]; }

  struct Group {
    std::span<T> values, grads;
    Communicator* replicas;  // ranks that hold the same
  };
  Group dense() const;
  Group experts() const;
  void ZeroGrads(ThreadPool& pool);

 private:
  std::vector<Shard> shards_;
  std::vector<Parameter<T>> parameters_;
  Buffer<T> values_, grads_;
  int64_t dense_elements_ = 0, expert_elements_ = 0;
  Communicator* dense_replicas_ = nullptr;
  Communicator* expert_replicas_ = nullptr;
};

}  // namespace hadal::train
