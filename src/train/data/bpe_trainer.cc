#include "train/data/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <string_view>
#include <unordered_set>

namespace hadal::train {
namespace {

constexpr uint64_t kMergesBetweenProgress = 64;

uint64_t PairOf(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}
int32_t LeftOf(uint64_t pair) { return static_cast<int32_t>(pair >> 32); }
int32_t RightOf(uint64_t pair) { return static_cast<int32_t>(pair); }

/// A piece as symbols: a range of one long array, which shrinks as they merge.
struct Word {
  size_t first;
  uint32_t length;
  int64_t count;
};

struct PairInfo {
  int64_t count = 0;
  std::vector<uint32_t> words;  // that had the pair when it arose; some twice, some no longer
};

/// A pair with the count that it had when it was put on the heap.
struct Candidate {
  int64_t count;
  uint64_t pair;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Trainer {
 public:
  Trainer(const PieceCounts& pieces, const BpeTrainerOptions& options)
      : options_(options), forbidden_(options.forbidden.begin(), options.forbidden.end()) {
    for (int byte = 0; byte < 256; ++byte) AddToken(std::string(1, static_cast<char>(byte)));
    // Sorted, so that words have the same numbers whatever the hash table's order; results need no order
    // here, but memory and time do not vary either.
    std::vector<const PieceCounts::value_type*> sorted;
    for (const auto& piece : pieces) sorted.push_back(&piece);
    std::ranges::sort(sorted, {}, [](const auto* piece) -> const std::string& { return piece->first; });
    for (const auto* piece : sorted) AddWord(piece->first, piece->second);
    for (const auto& [pair, info] : pairs_) Offer(pair, info.count);
  }

  Result<TrainedBpe> Run() {
    const auto most = static_cast<uint64_t>(std::max<int64_t>(options_.tokens - 256, 0));
    while (trained_.tokens.size() < most + 256 && !candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      const int64_t count = pairs_[best.pair].count;
      if (count != best.count) {
        Offer(best.pair, count);
        continue;
      }
      Merge(best.pair);
      const uint64_t done = trained_.tokens.size() - 256;
      if (trained_.merges.size() % kMergesBetweenProgress == 0 && options_.progress &&
          !options_.progress(done, most))
        return Cancelled("interrupted; nothing was written");
    }
    return std::move(trained_);
  }

 private:
  int32_t AddToken(std::string bytes) {
    const auto [at, is_new] =
        ids_.try_emplace(std::move(bytes), static_cast<int32_t>(trained_.tokens.size()));
    if (is_new) trained_.tokens.push_back(at->first);
    return at->second;
  }

  void AddWord(std::string_view piece, int64_t count) {
    piece = piece.substr(0, kMaxTrainedPiece);
    const auto number = static_cast<uint32_t>(words_.size());
    words_.push_back({symbols_.size(), static_cast<uint32_t>(piece.size()), count});
    for (const char c : piece) symbols_.push_back(static_cast<unsigned char>(c));
    const int32_t* s = symbols_.data() + words_.back().first;
    for (uint32_t i = 0; i + 1 < piece.size(); ++i) {
      PairInfo& info = pairs_[PairOf(s[i], s[i + 1])];
      info.count += count;
      if (info.words.empty() || info.words.back() != number) info.words.push_back(number);
    }
  }

  void Offer(uint64_t pair, int64_t count) {
    if (count < options_.min_count) return;
    const size_t length = trained_.tokens[LeftOf(pair)].size() + trained_.tokens[RightOf(pair)].size();
    if (length <= kMaxTrainedToken) candidates_.push({count, pair});
  }

  void Merge(uint64_t pair) {
    const int32_t left = LeftOf(pair), right = RightOf(pair);
    std::string bytes = trained_.tokens[left] + trained_.tokens[right];
    if (forbidden_.contains(bytes)) return;
    const int32_t merged = AddToken(std::move(bytes));
    trained_.merges.emplace_back(left, right);
    const std::vector<uint32_t> words = std::move(pairs_[pair].words);
    arisen_.clear();
    for (const uint32_t word : words) MergeIn(word, left, right, merged);
    for (const uint64_t one : arisen_) Offer(one, pairs_[one].count);
    pairs_.erase(pair);
  }

  /// The word's pairs are counted off and, after the merge, on again: exact whatever overlaps.
  void MergeIn(uint32_t number, int32_t left, int32_t right, int32_t merged) {
    Word& word = words_[number];
    int32_t* s = symbols_.data() + word.first;
    bool found = false;
    for (uint32_t i = 0; i + 1 < word.length && !found; ++i) found = s[i] == left && s[i + 1] == right;
    if (!found) return;
    for (uint32_t i = 0; i + 1 < word.length; ++i) pairs_[PairOf(s[i], s[i + 1])].count -= word.count;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < word.length; ++i) {
      const bool joins = i + 1 < word.length && s[i] == left && s[i + 1] == right;
      s[kept++] = joins ? merged : s[i];
      i += joins;
    }
    word.length = kept;
    for (uint32_t i = 0; i + 1 < word.length; ++i) {
      const uint64_t pair = PairOf(s[i], s[i + 1]);
      PairInfo& info = pairs_[pair];
      info.count += word.count;
      if (s[i] != merged && s[i + 1] != merged) continue;
      if (info.words.empty() || info.words.back() != number) info.words.push_back(number);
      arisen_.insert(pair);
    }
  }

  const BpeTrainerOptions& options_;
  const std::unordered_set<std::string> forbidden_;
  TrainedBpe trained_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<int32_t> symbols_;
  std::vector<Word> words_;
  std::unordered_map<uint64_t, PairInfo> pairs_;
  std::priority_queue<Candidate> candidates_;
  std::unordered_set<uint64_t> arisen_;
};

}  // namespace

Result<TrainedBpe> TrainBpe(const PieceCounts& pieces, const BpeTrainerOptions& options) {
  return Trainer(pieces, options).Run();
}

}  // namespace hadal::train
