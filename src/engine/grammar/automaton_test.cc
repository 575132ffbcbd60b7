// Depth, ambiguity and the number of states are bounded, and Compact changes nothing.
#include "engine/grammar/automaton.h"

#include "engine/grammar/grammar_test_util.h"

namespace hadal::grammar {
namespace {

using State = Automaton::State;

State Read(Automaton& automaton, State state, std::string_view text) {
  for (const char byte : text) state = automaton.Step(state, static_cast<uint8_t>(byte));
  return state;
}

TEST(Automaton, EqualStatesAreOne) {
  Automaton automaton(CompileGbnf("root ::= \"[\" (\"a\" | \"b\" root)* \"]\"").value());
  const State inside = Read(automaton, automaton.start(), "[");
  EXPECT_EQ(Read(automaton, inside, "aaaa"), inside);
  EXPECT_EQ(Read(automaton, inside, "b[a]"), inside);
  EXPECT_NE(Read(automaton, inside, "b["), inside);
  EXPECT_TRUE(automaton.accepts(Read(automaton, inside, "]")));
  EXPECT_FALSE(automaton.goes_on(Read(automaton, inside, "]")));
  EXPECT_EQ(Read(automaton, inside, "]x"), Automaton::kDead);
}

TEST(Automaton, RecursionInLastPlaceNeedsNoStack) {
  Automaton automaton(CompileGbnf("root ::= \"a\" root | \"b\"").value());
  State state = automaton.start();
  for (int i = 0; i < 100'000; ++i) state = automaton.Step(state, 'a');
  EXPECT_TRUE(automaton.accepts(automaton.Step(state, 'b')));
  EXPECT_LT(automaton.state_count(), 10u);
}

TEST(Automaton, DepthIsBounded) {
  Automaton automaton(CompileGbnf("root ::= \"(\" root \")\" | \"x\"").value());
  State state = automaton.start();
  int depth = 0;
  while (true) {
    const State next = automaton.Step(state, '(');
    if (next == Automaton::kDead || automaton.Step(next, 'x') == Automaton::kDead) break;
    state = next;
    ++depth;
  }
  EXPECT_GT(depth, 1000);
  EXPECT_LE(depth, kMaxStackDepth);
  EXPECT_TRUE(automaton.cut());
  // What is left can still be finished.
  state = Read(automaton, state, "x" + std::string(static_cast<size_t>(depth), ')'));
  ASSERT_NE(state, Automaton::kDead);
  EXPECT_TRUE(automaton.accepts(state));
}

TEST(Automaton, ExponentialAmbiguityEndsInsteadOfGrowing) {
  // Each x doubles the ways to go on: the stacks differ.
  Automaton automaton(CompileGbnf("root ::= \"x\" root \"y\" | \"x\" root \"z\" | \"w\"").value());
  State state = automaton.start();
  int taken = 0;
  while (state != Automaton::kDead && taken < 100) {
    state = automaton.Step(state, 'x');
    ++taken;
  }
  EXPECT_LT(taken, 20);
  EXPECT_TRUE(automaton.cut());
  EXPECT_LT(automaton.bytes(), Automaton::kPlannedBytes);
  // Ambiguity without different stacks costs nothing.
  Automaton flat(CompileGbnf("root ::= (\"a\" | \"a\" \"a\" | \"a\"{3})* \"b\"").value());
  EXPECT_TRUE(flat.accepts(Read(flat, flat.start(), std::string(5000, 'a') + "b")));
  EXPECT_LT(flat.state_count(), 10u);
}

TEST(Automaton, CompactKeepsTheState) {
  const auto program =
      CompileSchema(
          R"({"type": "array", "items": {"type": ["array", "string"], "items": {"type": "integer"}}})")
          .value();
  Automaton automaton(program), other(program);
  const std::string text = R"(["a", [1, 2, -30], [], "x\u00e9", [4]])";
  State state = automaton.start(), plain = other.start();
  for (size_t i = 0; i < text.size(); ++i) {
    state = automaton.Compact(automaton.Step(state, static_cast<uint8_t>(text[i])));
    plain = other.Step(plain, static_cast<uint8_t>(text[i]));
    EXPECT_EQ(automaton.state_count(), 1u);
    for (int byte = 0; byte < 256; ++byte)
      EXPECT_EQ(automaton.Step(state, static_cast<uint8_t>(byte)) == Automaton::kDead,
                other.Step(plain, static_cast<uint8_t>(byte)) == Automaton::kDead);
  }
  EXPECT_TRUE(automaton.accepts(state));
  EXPECT_EQ(automaton.Compact(Automaton::kDead), Automaton::kDead);
}

TEST(Automaton, OneStepIsBoundedWhereverItIs) {
  // Thousands of edges at thousands of threads.
  std::string wide = "root ::= (";
  for (int i = 0; i < 3000; ++i) wide += "r|";
  wide += "\"w\"){50}\nr ::= . r . | \"v\"";
  Automaton automaton(CompileGbnf(wide).value());
  State state = automaton.start();
  for (int i = 0; i < 100 && state != Automaton::kDead; ++i) {
    const int64_t before = automaton.work();
    state = automaton.Step(state, 'x');
    EXPECT_LT(automaton.work() - before, 2 * kMaxStepWork) << i;
  }
  EXPECT_LT(automaton.bytes(), Automaton::kPlannedBytes);
}

TEST(Automaton, TooManyStatesAreAnError) {
  // Counting to 60,000 takes as many states of some 50 bytes.
  Automaton automaton(CompileGbnf("root ::= \"a\"{60000}").value());
  State state = automaton.start();
  while (state != Automaton::kDead) state = automaton.Step(state, 'a');
  EXPECT_EQ(automaton.CheckRoom().error().code, Code::kInvalidArgument);
  EXPECT_TRUE(automaton.full());
  EXPECT_GT(automaton.state_count(), 10'000u);
  EXPECT_LT(automaton.bytes(), Automaton::kPlannedBytes);
  // With Compact it goes on.
  Automaton again(CompileGbnf("root ::= \"a\"{60000}").value());
  state = again.start();
  for (int i = 0; i < 60'000; ++i) {
    if (again.nearly_full()) state = again.Compact(state);
    state = again.Step(state, 'a');
  }
  EXPECT_TRUE(again.accepts(state));
}

}  // namespace
}  // namespace hadal::grammar
