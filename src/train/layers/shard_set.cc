#include "train/layers/shard_set.h"

#include <algorithm>

namespace hadal::train {
namespace {

/// Elements of a group, with zeros at its end so that its replicas' equal pieces hold it.
int64_t PaddedElements(const std::vector<Shard>& shards, bool experts, const Communicator& replicas) {
  int64_t elements = 0;
  for (const Shard& s : shards) elements += s.expert == experts ? s.elements() : 0;
  const int64_t ranks = replicas.size();
  return (elements + ranks - 1) / ranks * ranks;
}

}  // namespace

template <typename T>
int64_t ShardSet<T>::PlannedElements(const std::vector<Shard>& shards, const ProcessMesh& mesh) {
  return PaddedElements(shards, false, mesh.data()) + PaddedElements(shards, true, mesh.expert_data());
}

template <typename T>
Result<ShardSet<T>> ShardSet<T>::Create(std::vector<Shard> shards, const ProcessMesh& mesh) {
  ShardSet set;
  set.shards_ = std::move(shards);
  set.dense_replicas_ = &mesh.data();
  set.expert_replicas_ = &mesh.expert_data();
  set.dense_elements_ = PaddedElements(set.shards_, false, mesh.data());
  set.expert_elements_ = PaddedElements(set.shards_, true, mesh.expert_data());
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
void ShardSet<T>::ZeroGrads() {
  std::fill_n(grads_.data(), grads_.size(), T{});
}

template class ShardSet<float>;
template class ShardSet<double>;

}  // namespace hadal::train
