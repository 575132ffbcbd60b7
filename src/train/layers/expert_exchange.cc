#include "train/layers/expert_exchange.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace hadal::train {

ExpertExchange::ExpertExchange(Communicator& ranks, int64_t rows, int64_t choices, int64_t experts)
    : ranks_(&ranks), experts_(experts), local_(experts / ranks.size()) {
  max_rows_ = ranks.size() * rows * std::min(choices, local_);
  if (ranks.size() == 1) max_rows_ = rows * choices;
  offsets_.resize(static_cast<size_t>(local_) + 1);
  counts_.resize(static_cast<size_t>(experts));
  all_counts_.resize(static_cast<size_t>(experts * ranks.size()));
  for (auto* per_rank : {&sent_, &received_, &sent_bytes_, &received_bytes_})
    per_rank->resize(static_cast<size_t>(ranks.size()));
  if (moves()) place_.resize(static_cast<size_t>(max_rows_));
}

int64_t ExpertExchange::MaxRows() const { return max_rows_; }

Status ExpertExchange::Agree(const DispatchPlan& plan) {
  const std::span<const int32_t> mine = plan.offsets();
  if (!moves()) {
    std::ranges::copy(mine, offsets_.begin());
    return {};
  }
  for (int64_t e = 0; e < experts_; ++e) counts_[e] = mine[e + 1] - mine[e];
  RETURN_IF_ERROR(ranks_->AllGather(BytesOf(std::span<const int64_t>(counts_)),
                                    BytesOf(std::span(all_counts_)), "counts of routed tokens"));
  const int64_t first = ranks_->rank() * local_;
  const auto count = [&](int64_t source, int64_t e) { return all_counts_[source * experts_ + e]; };
  for (int64_t r = 0; r < ranks_->size(); ++r) {
    sent_[r] = mine[(r + 1) * local_] - mine[r * local_];
    received_[r] = 0;
    for (int64_t e = 0; e < local_; ++e) received_[r] += count(r, first + e);
  }
  offsets_[0] = 0;
  for (int64_t e = 0; e < local_; ++e) {
    offsets_[e + 1] = offsets_[e];
    for (int64_t r = 0; r < ranks_->size(); ++r) offsets_[e + 1] += static_cast<int32_t>(count(r, first + e));
  }
  HADAL_CHECK(rows() <= max_rows_, "{} copies here, room for {}", rows(), max_rows_);
  // They come by source, then expert; they lie by expert, then source.
  int64_t at = 0;
  for (int64_t r = 0; r < ranks_->size(); ++r)
    for (int64_t e = 0; e < local_; ++e) {
      int64_t to = offsets_[e];
      for (int64_t before = 0; before < r; ++before) to += count(before, first + e);
      for (int64_t i = 0; i < count(r, first + e); ++i) place_[at++] = static_cast<int32_t>(to + i);
    }
  return {};
}

template <typename T>
void ExpertExchange::SetBytes(int64_t width) {
  for (size_t r = 0; r < sent_.size(); ++r) {
    sent_bytes_[r] = sent_[r] * width * static_cast<int64_t>(sizeof(T));
    received_bytes_[r] = received_[r] * width * static_cast<int64_t>(sizeof(T));
  }
}

template <typename T>
Status ExpertExchange::ToOwners(std::type_identity_t<View<const T>> mine, View<T> scratch, View<T> here,
                                const char* what) {
  const int64_t width = mine.cols;
  SetBytes<T>(width);
  RETURN_IF_ERROR(ranks_->AllToAll(reinterpret_cast<const std::byte*>(mine.data), sent_bytes_,
                                   reinterpret_cast<std::byte*>(scratch.data), received_bytes_, what));
  for (int64_t i = 0; i < rows(); ++i) std::copy_n(scratch.row(i), width, here.row(place_[i]));
  return {};
}

template <typename T>
Status ExpertExchange::FromOwners(std::type_identity_t<View<const T>> here, View<T> scratch, View<T> mine,
                                  const char* what) {
  const int64_t width = mine.cols;
  SetBytes<T>(width);
  for (int64_t i = 0; i < rows(); ++i) std::copy_n(here.row(place_[i]), width, scratch.row(i));
  return ranks_->AllToAll(reinterpret_cast<const std::byte*>(scratch.data), received_bytes_,
                          reinterpret_cast<std::byte*>(mine.data), sent_bytes_, what);
}

template Status ExpertExchange::ToOwners<float>(View<const float>, View<float>, View<float>, const char*);
template Status ExpertExchange::ToOwners<double>(View<const double>, View<double>, View<double>, const char*);
template Status ExpertExchange::FromOwners<float>(View<const float>, View<float>, View<float>, const char*);
template Status ExpertExchange::FromOwners<double>(View<const double>, View<double>, View<double>,
                                                   const char*);

}  // namespace hadal::train
