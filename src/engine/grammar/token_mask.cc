#include "engine/grammar/token_mask.h"

#include <algorithm>

namespace hadal::grammar {
namespace {

using State = Automaton::State;

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

/// Whether all bytes of the sequence from place `at` on lead from `state` to `*next`, which is set by the
/// first that gets there.
bool AllLeadTo(Automaton& automaton, State state, const Sequence& sequence, int at, State* next) {
  if (state == Automaton::kDead) return false;
  if (at == sequence.length) {
    if (*next == Automaton::kDead) *next = state;
    return *next == state;
  }
  int last_class = -1;
  for (int byte = sequence.bytes[at].lo; byte <= sequence.bytes[at].hi; ++byte) {
    const int byte_class = automaton.program().class_of(static_cast<uint8_t>(byte));
    if (byte_class == last_class) continue;
    last_class = byte_class;
    if (!AllLeadTo(automaton, automaton.Step(state, static_cast<uint8_t>(byte)), sequence, at + 1, next))
      return false;
  }
  return true;
}

/// Whether every plain token may follow: any kPlainCharacters plain characters, whichever, can be taken.
bool TakesPlainTokens(Automaton& automaton, State state) {
  for (int i = 0; i < kPlainCharacters; ++i) {
    State next = Automaton::kDead;
    for (const Sequence& sequence : kPlainSequences) {
      if (!AllLeadTo(automaton, state, sequence, 0, &next)) return false;
    }
    if (next == state) return true;
    state = next;
  }
  return true;
}

void Walk(Automaton& automaton, State state, const TokenTree& tree, std::vector<uint64_t>& mask) {
  const std::span<const TokenTree::Node> nodes = tree.nodes();
  std::vector<State> states(tree.depth() + 1);
  states[0] = state;
  const int32_t count = static_cast<int32_t>(nodes.size());
  for (int32_t i = 0; i < count;) {
    const TokenTree::Node& node = nodes[static_cast<size_t>(i)];
    const State next = automaton.Step(states[node.depth], node.byte);
    if (next == Automaton::kDead) {
      i = node.end;
      continue;
    }
    states[node.depth + 1] = next;
    if (node.token >= 0) mask[static_cast<size_t>(node.token) / 64] |= uint64_t{1} << (node.token % 64);
    ++i;
  }
}

}  // namespace

Status FillMask(Automaton& automaton, State state, const Vocabulary& vocabulary,
                std::vector<uint64_t>& mask) {
  const std::span<const uint64_t> plain = vocabulary.plain();
  if (TakesPlainTokens(automaton, state)) {
    mask.assign(plain.begin(), plain.end());
    Walk(automaton, state, vocabulary.rest(), mask);
  } else {
    mask.assign(plain.size(), 0);
    Walk(automaton, state, vocabulary.all(), mask);
  }
  automaton.ForTokens(state, [&](int32_t id) {
    if (id < vocabulary.size()) mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
  });
  return automaton.CheckRoom();
}

GrammarConstraint::GrammarConstraint(std::shared_ptr<const Vocabulary> vocabulary,
                                     std::shared_ptr<const Program> program, std::vector<int64_t> stop_ids)
    : vocabulary_(std::move(vocabulary)),
      stop_ids_(std::move(stop_ids)),
      automaton_(std::move(program)),
      state_(automaton_.start()) {
  kept_.reserve(kKeptMasks);
}

Result<std::span<const uint64_t>> GrammarConstraint::Allowed() {
  const auto found = std::ranges::find(kept_, state_, &Kept::state);
  if (found != kept_.end() && state_ != Automaton::kDead) return std::span<const uint64_t>(found->mask);
  if (automaton_.nearly_full()) {
    state_ = automaton_.Compact(state_);
    for (Kept& kept : kept_) kept.state = Automaton::kDead;
  }
  if (kept_.size() < kKeptMasks) kept_.emplace_back();
  Kept& kept = kept_[next_ % kKeptMasks];
  next_ = (next_ + 1) % kKeptMasks;
  kept.state = Automaton::kDead;
  if (state_ != Automaton::kDead) RETURN_IF_ERROR(FillMask(automaton_, state_, *vocabulary_, kept.mask));
  if (state_ != Automaton::kDead && automaton_.accepts(state_)) {
    for (const int64_t id : stop_ids_) {
      if (id < vocabulary_->size()) kept.mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
    }
  }
  if (state_ == Automaton::kDead || std::ranges::all_of(kept.mask, [](uint64_t word) { return word == 0; }))
    return InvalidArgument(
        "no token goes on here: the grammar is nested more than {} calls deep, or ambiguous in more than {} "
        "ways",
        kMaxStackDepth, kMaxThreads);
  kept.state = state_;
  return std::span<const uint64_t>(kept.mask);
}

void GrammarConstraint::Accept(int32_t token) {
  const State named = automaton_.StepToken(state_, token);
  if (named != Automaton::kDead) {
    state_ = named;
    return;
  }
  const auto bytes = vocabulary_->tokenizer().TokenBytes(token);
  if (!bytes || bytes->empty()) {
    state_ = Automaton::kDead;
    return;
  }
  for (const char byte : *bytes) state_ = automaton_.Step(state_, static_cast<uint8_t>(byte));
}

bool GrammarConstraint::MustEnd() const {
  return state_ != Automaton::kDead && automaton_.accepts(state_) && !automaton_.goes_on(state_);
}

}  // namespace hadal::grammar
