#include "engine/grammar/token_mask.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/check.h"

namespace hadal::grammar {
namespace {

using State = Automaton::State;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The byte sequences of plain characters (IsPlain): Unicode's table of well-formed UTF-8, less a few.
struct Sequence {
  struct Range {
    uint8_t lo, hi;
  };
  int length;
  Range bytes[4];
};
constexpr Sequence kPlainSequences[] = {
    {1, {{0x20, 0x21}}},
    {1, {{0x23, 0x3B}}},
    {1, {{0x3D, 0x5B}}},
    {1, {{0x5D, 0x7F}}},
    {2, {{0xC2, 0xDF}, {0x80, 0xBF}}},
    {3, {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}},
    {3, {{0xEE, 0xEE}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xEF, 0xEF}, {0x80, 0xBC}, {0x80, 0xBF}}},
    {3, {{0xEF, 0xEF}, {0xBD, 0xBD}, {0x80, 0x9B}}},
    {3, {{0xEF, 0xEF}, {0xBD, 0xBD}, {0x9D, 0xBF}}},
    {3, {{0xEF, 0xEF}, {0xBE, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}},
};

// Bytes of one kind of character that lead apart before they meet again; more is not looked into.
constexpr size_t kMostWays = 8;

/// Some states, each once.
class Ways {
 public:
  /// False if nothing goes on there, or there would be too many.
  bool Add(State state) {
    if (state == Automaton::kDead) return false;
    if (std::ranges::find(begin(), end(), state) != end()) return true;
    if (count_ == kMostWays) return false;
    states_[count_++] = state;
    return true;
  }
  const State* begin() const { return states_.data(); }
  const State* end() const { return states_.data() + count_; }
  size_t count() const { return count_; }

 private:
  std::array<State, kMostWays> states_{};
  size_t count_ = 0;
};

/// Whether all texts of the sequence lead from `state` to `*next`, which is set by the first sequence.
bool AllLeadTo(Automaton& automaton, State state, const Sequence& sequence, State* next) {
  Ways ways;
  ways.Add(state);
  for (int i = 0; i < sequence.length; ++i) {
    Ways after;
    for (const State way : ways) {
      int last_class = -1;
      for (int byte = sequence.bytes[i].lo; byte <= sequence.bytes[i].hi; ++byte) {
        const int byte_class = automaton.program().class_of(static_cast<uint8_t>(byte));
        if (byte_class == last_class) continue;
        last_class = byte_class;
        if (!after.Add(automaton.Step(way, static_cast<uint8_t>(byte)))) return false;
      }
    }
    ways = after;
  }
  if (ways.count() != 1) return false;
  if (*next == Automaton::kDead) *next = *ways.begin();
  return *next == *ways.begin();
}

void SetBit(std::vector<uint64_t>& mask, int64_t id) {
  mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
}

}  // namespace

void MaskBuilder::Begin(State state) {
  state_ = plain_state_ = state;
  plain_next_ = Automaton::kDead;
  plain_ = Plain::kUnknown;
  level_ = 0;
  sequence_ = 0;
  tree_ = nullptr;
}

bool MaskBuilder::Continue(Automaton& automaton, const Vocabulary& vocabulary, int64_t& work,
                           std::vector<uint64_t>& mask) {
  if (plain_ == Plain::kUnknown && !FindPlain(automaton, work)) return false;
  if (!tree_) {
    const std::span<const uint64_t> plain = vocabulary.plain();
    mask.assign(plain.size(), 0);
    if (plain_ == Plain::kYes) std::ranges::copy(plain, mask.begin());
    BeginWalk(plain_ == Plain::kYes ? vocabulary.rest() : vocabulary.all());
  }
  if (!Walk(automaton, work, mask)) return false;
  automaton.ForTokens(state_, [&](int32_t id) {
    if (id < vocabulary.size()) SetBit(mask, id);
  });
  return true;
}

/// Finds out whether every plain token may follow: any kPlainCharacters plain characters, whichever, can be taken.
bool MaskBuilder::FindPlain(Automaton& automaton, int64_t& work) {
  while (level_ < kPlainCharacters) {
    for (; sequence_ < std::size(kPlainSequences); ++sequence_) {
      if (work <= 0) return false;
      const int64_t before = automaton.work();
      const bool leads = AllLeadTo(automaton, plain_state_, kPlainSequences[sequence_], &plain_next_);
      work -= automaton.work() - before + 1;
      if (leads) continue;
      plain_ = Plain::kNo;
      return true;
    }
    if (plain_next_ == plain_state_) break;
    plain_state_ = plain_next_;
    plain_next_ = Automaton::kDead;
    sequence_ = 0;
    ++level_;
  }
  plain_ = Plain::kYes;
  return true;
}

void MaskBuilder::BeginWalk(const TokenTree& tree) {
  tree_ = &tree;
  node_ = 0;
  states_.resize(tree.depth() + 1);
  states_[0] = state_;
}

bool MaskBuilder::Walk(Automaton& automaton, int64_t& work, std::vector<uint64_t>& mask) {
  const std::span<const TokenTree::Node> nodes = tree_->nodes();
  const int32_t count = static_cast<int32_t>(nodes.size());
  int64_t counted = automaton.work(), left = work;
  while (node_ < count && left > 0) {
    const TokenTree::Node& node = nodes[static_cast<size_t>(node_)];
    const State next = automaton.Step(states_[node.depth], node.byte);
    left -= 1 + automaton.work() - counted;
    counted = automaton.work();
    if (next == Automaton::kDead) {
      if (automaton.full()) break;
      node_ = node.end;
      continue;
    }
    states_[node.depth + 1] = next;
    if (node.token >= 0) SetBit(mask, node.token);
    ++node_;
  }
  work = left;
  return node_ == count || automaton.full();
}

Status FillMask(Automaton& automaton, State state, const Vocabulary& vocabulary,
                std::vector<uint64_t>& mask) {
  MaskBuilder builder;
  builder.Begin(state);
  for (int64_t work = kUnlimited; !builder.Continue(automaton, vocabulary, work, mask);) work = kUnlimited;
  return automaton.CheckRoom();
}

GrammarConstraint::GrammarConstraint(std::shared_ptr<const Vocabulary> vocabulary,
                                     std::shared_ptr<const Program> program, std::vector<int64_t> stop_ids)
    : vocabulary_(std::move(vocabulary)), program_(std::move(program)), stop_ids_(std::move(stop_ids)) {}

size_t GrammarConstraint::PlannedBytes(int64_t vocab_size) {
  const size_t mask = (static_cast<size_t>(vocab_size) + 63) / 64 * sizeof(uint64_t);
  return sizeof(GrammarConstraint) + Automaton::kPlannedBytes + kKeptMasks * (sizeof(Kept) + mask);
}

size_t GrammarConstraint::bytes() const {
  size_t bytes = automaton_ ? automaton_->bytes() : 0;
  for (const Kept& kept : kept_) bytes += sizeof(Kept) + kept.mask.capacity() * sizeof(uint64_t);
  return sizeof *this + bytes;
}

Automaton& GrammarConstraint::Awake() const {
  if (!automaton_) {
    automaton_ = std::make_unique<Automaton>(program_);
    state_ = automaton_->start();
  }
  return *automaton_;
}

/// The whole mask of the current state, if it is kept.
GrammarConstraint::Kept* GrammarConstraint::Find() {
  const auto found = std::ranges::find(kept_, state_, &Kept::state);
  return found == kept_.end() || state_ == Automaton::kDead ? nullptr : &*found;
}

void GrammarConstraint::Compact() {
  state_ = automaton_->Compact(state_);
  for (Kept& kept : kept_) kept.state = Automaton::kDead;
}

void GrammarConstraint::BeginMask() {
  compacted_ = automaton_->nearly_full();
  if (compacted_) Compact();
  kept_.reserve(kKeptMasks);
  if (kept_.size() < kKeptMasks) kept_.emplace_back();
  building_ = &kept_[next_ % kKeptMasks];
  next_ = (next_ + 1) % kKeptMasks;
  building_->state = Automaton::kDead;
  builder_.Begin(state_);
}

Result<bool> GrammarConstraint::Prepare(int64_t& work) {
  Automaton& automaton = Awake();
  if (MustEnd() || Find()) return true;
  if (state_ != Automaton::kDead) {
    if (!building_) BeginMask();
    while (true) {
      if (!builder_.Continue(automaton, *vocabulary_, work, building_->mask)) return false;
      if (!automaton.full() || compacted_) break;
      Compact();
      compacted_ = true;
      builder_.Begin(state_);
    }
  }
  RETURN_IF_ERROR(FinishMask());
  return true;
}

/// Makes the mask that was built the current state's.
Status GrammarConstraint::FinishMask() {
  Kept* const built = std::exchange(building_, nullptr);
  const bool dead = state_ == Automaton::kDead;
  if (!dead) RETURN_IF_ERROR(automaton_->CheckRoom());
  if (!dead && automaton_->accepts(state_)) {
    for (const int64_t id : stop_ids_) {
      if (id < vocabulary_->size()) SetBit(built->mask, id);
    }
  }
  if (dead || std::ranges::all_of(built->mask, [](uint64_t word) { return word == 0; }))
    return InvalidArgument(
        "no token goes on here: the grammar is nested more than {} calls deep, or ambiguous in more than {} "
        "ways",
        kMaxStackDepth, kMaxThreads);
  built->state = state_;
  return {};
}

Result<std::span<const uint64_t>> GrammarConstraint::Allowed() {
  for (bool ready = false; !ready;) {
    int64_t work = kUnlimited;
    ASSIGN_OR_RETURN(ready, Prepare(work));
  }
  const Kept* kept = Find();
  HADAL_CHECK(kept, "the text is complete, and a token is asked for");
  return std::span<const uint64_t>(kept->mask);
}

State GrammarConstraint::After(int32_t token) {
  const State named = automaton_->StepToken(state_, token);
  if (named != Automaton::kDead) return named;
  const auto bytes = vocabulary_->tokenizer().TokenBytes(token);
  if (!bytes || bytes->empty()) return Automaton::kDead;
  State state = state_;
  for (const char byte : *bytes) state = automaton_->Step(state, static_cast<uint8_t>(byte));
  return state;
}

void GrammarConstraint::Accept(int32_t token) {
  Awake();
  building_ = nullptr;
  State after = After(token);
  if (automaton_->full()) {
    Compact();
    after = After(token);
  }
  state_ = after;
}

bool GrammarConstraint::MustEnd() const {
  const Automaton& automaton = Awake();
  return state_ != Automaton::kDead && automaton.accepts(state_) && !automaton.goes_on(state_);
}

void GrammarConstraint::Rest() {
  if (!automaton_) return;
  state_ = automaton_->Compact(state_);
  building_ = nullptr;
  kept_ = std::vector<Kept>();
  next_ = 0;
}

}  // namespace hadal::grammar
