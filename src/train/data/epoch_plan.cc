#include "train/data/epoch_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/rng.h"

namespace hadal::train {
namespace {

// Sequences that are being filled at once: enough for a good fit, few enough to look at for each document.
constexpr size_t kOpen = 64;

/// A permutation of [0, count) drawn from the seed and `stream`.
std::vector<uint32_t> Permutation(int64_t count, uint64_t seed, uint64_t stream) {
  std::vector<uint32_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0u);
  for (uint64_t i = order.size(); i > 1; --i) {
    const auto random = PhiloxAt(seed, stream, i);
    const uint64_t wide = (uint64_t{random[0]} << 32) | random[1];
    std::swap(order[i - 1], order[wide % i]);
  }
  return order;
}

struct Open {
  int64_t used = 0;
  std::vector<DocumentPiece> pieces;
};

}  // namespace

Status EpochPlan::Check(int64_t documents, int64_t tokens, int64_t length) {
  constexpr int64_t kMostPieces = std::numeric_limits<uint32_t>::max();
  if (documents <= kMostPieces - tokens / length) return {};
  return Unsupported(
      "{} documents of {} tokens in all, cut into sequences of {}, may be more than {} pieces; make several "
      "folders of the data and train on one after the other, or raise sequence_length where documents are "
      "long",
      documents, tokens, length, kMostPieces);
}

EpochPlan::EpochPlan(const TokenDataset& data, int64_t length, uint64_t seed, uint64_t epoch, bool shuffle) {
  std::vector<uint32_t> documents = Permutation(shuffle ? data.documents() : 0, seed, 2 * epoch);
  if (!shuffle) {
    documents.resize(static_cast<size_t>(data.documents()));
    std::iota(documents.begin(), documents.end(), 0u);
  }
  std::vector<Open> open;
  int64_t used = 0;
  begins_.push_back(0);
  const auto close = [&](size_t i) {
    pieces_.insert(pieces_.end(), open[i].pieces.begin(), open[i].pieces.end());
    begins_.push_back(static_cast<uint32_t>(pieces_.size()));
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
  };
  const auto place = [&](DocumentPiece piece, int64_t count) {
    used += count;
    // The fullest with room; among equals the oldest.
    size_t best = open.size();
    for (size_t i = 0; i < open.size(); ++i)
      if (open[i].used + count <= length && (best == open.size() || open[i].used > open[best].used)) best = i;
    if (best == open.size()) {
      if (open.size() == (shuffle ? kOpen : 1)) {
        size_t fullest = 0;
        for (size_t i = 1; i < open.size(); ++i)
          if (open[i].used > open[fullest].used) fullest = i;
        close(fullest);
      }
      best = open.size();
      open.emplace_back();
    }
    open[best].used += count;
    open[best].pieces.push_back(piece);
    if (open[best].used == length) close(best);
  };
  for (const uint32_t d : documents) {
    const auto tokens = static_cast<int64_t>(data.document(d).tokens.size());
    for (int64_t first = 0; first < tokens; first += length)
      place({d, static_cast<uint32_t>(first)}, std::min(length, tokens - first));
  }
  while (!open.empty()) close(0);
  order_ = Permutation(shuffle ? sequences() : 0, seed, 2 * epoch + 1);
  if (!shuffle) {
    order_.resize(static_cast<size_t>(sequences()));
    std::iota(order_.begin(), order_.end(), 0u);
  }
  filled_share_ =
      static_cast<double>(used) / (static_cast<double>(sequences()) * static_cast<double>(length));
}

std::span<const DocumentPiece> EpochPlan::sequence(int64_t i) const {
  const uint32_t s = order_[static_cast<size_t>(i)];
  return std::span(pieces_).subspan(begins_[s], begins_[s + 1] - begins_[s]);
}

}  // namespace hadal::train
