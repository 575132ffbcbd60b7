#include "text/bpe.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "text/byte_level.h"

namespace hadal {
namespace {

constexpr uint64_t kNoPair = UINT64_MAX;
// Up to this many symbols a scan for the best pair is quicker than a heap.
constexpr size_t kScanLimit = 48;

uint64_t PairOf(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

// Bytes that no valid UTF-8 contains.
bool NeverInUtf8(int byte) { return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5; }

}  // namespace

Result<Bpe> Bpe::Create(const TokenMap& tokens, std::span<const Merge> merges, const BpeOptions& options,
                        const std::function<bool(int32_t)>& is_added) {
  HADAL_CHECK(merges.size() < kNoMerge / 4, "{} merges", merges.size());
  Bpe bpe;
  for (int byte = 0; byte < 256; ++byte) {
    bpe.starts_[byte] = StartOf(static_cast<uint8_t>(byte), tokens, options);
    if (bpe.starts_[byte].kind == Start::kNothing && !NeverInUtf8(byte))
      return InvalidArgument(
          "the vocabulary has no token '{}' for the byte 0x{:02X}, and neither byte_fallback nor unk_token "
          "stands in "
          "for it, so text would be lost",
          ByteLevelCharacter(static_cast<uint8_t>(byte)), byte);
  }
  bpe.unknown_id_ = options.unknown_id.value_or(-1);
  bpe.fuse_unknown_ = options.fuse_unknown;
  bpe.slots_.assign(std::bit_ceil(2 * merges.size() + 1), Slot{kNoPair, kNoMerge});
  bpe.results_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    bpe.results_.push_back(merge.result);
    if (!is_added(merge.result)) bpe.AddMerge(PairOf(merge.left, merge.right), static_cast<uint32_t>(rank));
  }
  bpe.FindWholePieces(tokens, options, is_added);
  return bpe;
}

Bpe::Start Bpe::StartOf(uint8_t byte, const TokenMap& tokens, const BpeOptions& options) {
  const std::string character = ByteLevelCharacter(byte);
  if (const auto id = tokens.Find(character)) return {Start::kToken, 1, {*id, 0}};
  if (options.byte_fallback) {
    // The reference falls back from the character of the alphabet, one or two bytes, not from the byte it
    // stands for.
    Start start{Start::kFallback, 0, {}};
    for (const char c : character)
      if (const auto id = tokens.Find(fmt::format("<0x{:02X}>", static_cast<uint8_t>(c))))
        start.ids[start.count++] = *id;
    if (start.count == character.size()) return start;
  }
  if (options.unknown_id) return {Start::kUnknown, 0, {}};
  return {};
}

void Bpe::AddMerge(uint64_t pair, uint32_t rank) { slots_[SlotOf(pair)] = {pair, rank}; }

// The slot that holds `pair`, or the empty one where it belongs.
size_t Bpe::SlotOf(uint64_t pair) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = ((pair * 0x9E3779B97F4A7C15u) >> 32) & mask;  // 2^64 / the golden ratio
  while (slots_[slot].pair != pair && slots_[slot].pair != kNoPair) slot = (slot + 1) & mask;
  return slot;
}

uint32_t Bpe::RankOf(int32_t left, int32_t right) const { return slots_[SlotOf(PairOf(left, right))].rank; }

// Most pieces of ordinary text are one token. The tokens that merging their own bytes gives back are found
// once, here, and Encode looks a piece up among them first: the same result for one lookup.
void Bpe::FindWholePieces(const TokenMap& tokens, const BpeOptions& options,
                          const std::function<bool(int32_t)>& is_added) {
  Scratch scratch;
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < tokens.end_id(); ++id) {
    if (!tokens.Has(id) || is_added(id)) continue;
    const auto bytes = BytesOfByteLevel(tokens.At(id));
    if (!bytes || bytes->empty()) continue;
    ids.clear();
    if (!options.ignore_merges) Encode(*bytes, scratch, ids);
    if (!options.ignore_merges && (ids.size() != 1 || ids[0] != id)) continue;
    whole_.Insert(*bytes, id);
    longest_whole_ = std::max(longest_whole_, bytes->size());
  }
}

void Bpe::Encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  HADAL_CHECK(piece.size() <= kMaxPieceBytes, "{} bytes", piece.size());
  if (piece.size() <= longest_whole_) {
    if (const auto id = whole_.Find(piece)) {
      out.push_back(*id);
      return;
    }
  }
  StartSymbols(piece, scratch.ids);
  if (scratch.ids.size() <= kScanLimit)
    MergeByScan(scratch);
  else
    MergeByHeap(scratch);
  out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
}

void Bpe::StartSymbols(std::string_view piece, std::vector<int32_t>& ids) const {
  ids.clear();
  // As in the reference an unknown symbol waits for the next token or unknown byte, so that it can fuse, and
  // tokens of the byte fallback go before it.
  bool unknown = false;
  for (const char c : piece) {
    const Start& start = starts_[static_cast<uint8_t>(c)];
    if (unknown && (start.kind == Start::kToken || (start.kind == Start::kUnknown && !fuse_unknown_))) {
      ids.push_back(unknown_id_);
      unknown = false;
    }
    if (start.kind == Start::kUnknown) unknown = true;
    for (int i = 0; i < start.count; ++i) ids.push_back(start.ids[i]);
  }
  if (unknown) ids.push_back(unknown_id_);
}

// Merges scratch.ids in place: the pair of the lowest rank, the leftmost of equals, until no pair has a
// merge.
void Bpe::MergeByScan(Scratch& scratch) const {
  auto& [ids, ranks, nodes, heap] = scratch;
  size_t count = ids.size();
  if (count < 2) return;
  ranks.resize(count);  // ranks[i]: of the merge of ids[i] and ids[i + 1]
  for (size_t i = 0; i + 1 < count; ++i) ranks[i] = RankOf(ids[i], ids[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoMerge) break;
    ids[best] = results_[ranks[best]];
    for (size_t i = best + 1; i + 1 < count; ++i) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1];
    }
    --count;
    if (best > 0) ranks[best - 1] = RankOf(ids[best - 1], ids[best]);
    if (best + 1 < count) ranks[best] = RankOf(ids[best], ids[best + 1]);
  }
  ids.resize(count);
}

// The same by a linked list of symbols and a heap of (rank, place), for long pieces. An entry whose symbol is
// gone or has another neighbour by now no longer agrees with the node's rank and is passed over.
void Bpe::MergeByHeap(Scratch& scratch) const {
  auto& [ids, ranks, nodes, heap] = scratch;
  nodes.clear();
  heap.clear();
  const auto count = static_cast<int32_t>(ids.size());
  const auto push = [&](int32_t place) {
    Scratch::Node& node = nodes[place];
    node.rank = node.next < 0 ? kNoMerge : RankOf(node.id, nodes[node.next].id);
    if (node.rank == kNoMerge) return;
    heap.push_back((uint64_t{node.rank} << 32) | static_cast<uint32_t>(place));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (int32_t i = 0; i < count; ++i) nodes.push_back({ids[i], i - 1, i + 1 < count ? i + 1 : -1, kNoMerge});
  for (int32_t i = 0; i < count; ++i) push(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    const auto place = static_cast<int32_t>(heap.back() & UINT32_MAX);
    heap.pop_back();
    Scratch::Node& node = nodes[place];
    if (node.rank != rank) continue;
    Scratch::Node& gone = nodes[node.next];
    node.id = results_[rank];
    node.next = gone.next;
    gone.rank = kNoMerge;
    if (node.next >= 0) nodes[node.next].previous = place;
    push(place);
    if (node.previous >= 0) push(node.previous);
  }
  ids.clear();
  for (int32_t i = 0; i >= 0 && count > 0; i = nodes[i].next) ids.push_back(nodes[i].id);
}

}  // namespace hadal
