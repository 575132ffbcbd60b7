#include "train/layers/shard_set.h"

#include <algorithm>

#include "model/random_normal.h"

namespace hadal::train {
int64_t GroupElements(const std::vector<Shard>& shards, bool experts, const ProcessMesh& mesh) {
  int64_t elements = 0;
  for (const Shard& s : shards) elements += s.expert == experts ? s.elements() : 0;
  const int64_t ranks = (experts ? mesh.expert_data() : mesh.data()).size();
  return (elements + ranks - 1) / ranks * ranks;
}

int64_t PlannedElements(const std::vector<Shard>& shards, const ProcessMesh& mesh) {
  return GroupElements(shards, false, mesh) + GroupElements(shards, true, mesh);
}

template <typename T>
void FillRandom(const Shard& s, uint64_t seed, float deviation, View<T> out) {
  // Whole rows are drawn and cut.
  std::vector<float> row(static_cast<size_t>(s.full_cols));
  for (int64_t r = 0; r < s.rows; ++r) {
    FillNormal(seed, StreamOf(s.name), (s.row + r) * s.full_cols, s.full_cols, 0, deviation, row.data());
    for (int64_t c = 0; c < s.cols; ++c) out.at(r, c) = static_cast<T>(row[static_cast<size_t>(s.col + c)]);
  }
}

template void FillRandom(const Shard&, uint64_t, float, View<float>);
template void FillRandom(const Shard&, uint64_t, float, View<double>);

template <typename T>
Result<ShardSet<T>> ShardSet<T>::Create(std::vector<Shard> shards, const ProcessMesh& mesh) {
  ShardSet set;
  set.shards_ = std::move(shards);
  set.dense_replicas_ = &mesh.data();
  set.expert_replicas_ = &mesh.expert_data();
  set.dense_elements_ = GroupElements(set.shards_, false, mesh);
  set.expert_elements_ = GroupElements(set.shards_, true, mesh);
  const int64_t all = set.dense_elements_ + set.expert_elements_;
  ASSIGN_OR_RETURN(set.values_, Buffer<T>::Allocate(all, "parameters"));
  ASSIGN_OR_RETURN(set.grads_, Buffer<T>::Allocate(all, "gradients"));
  int64_t dense = 0, expert = set.dense_elements_;
  for (const Shard& s : set.shards_) {
    int64_t& at = s.expert ? expert : dense;
    set.parameters_.push_back({View<T>(set.values_.data() + at, s.rows, s.cols),
                               View<T>(set.grads_.data() + at, s.rows, s.cols)});
    at += s.elements();
  }
  return set;
}

template <typename T>
typename ShardSet<T>::Group ShardSet<T>::dense() const {
  const auto n = static_cast<size_t>(dense_elements_);
  return {{values_.data(), n}, {grads_.data(), n}, dense_replicas_};
}

template <typename T>
typename ShardSet<T>::Group ShardSet<T>::experts() const {
  const auto n = static_cast<size_t>(expert_elements_);
  return {{values_.data() + dense_elements_, n}, {grads_.data() + dense_elements_, n}, expert_replicas_};
}

template <typename T>
void ShardSet<T>::ZeroGrads(ThreadPool& pool) {
  constexpr int64_t kElements = 1 << 17;  // at a time
  const int64_t all = grads_.size();
  pool.For((all + kElements - 1) / kElements, [&](int64_t i, int) {
    std::fill_n(grads_.data() + i * kElements, std::min(kElements, all - i * kElements), T{});
  });
}

template class ShardSet<float>;
template class ShardSet<double>;

}  // namespace hadal::train
