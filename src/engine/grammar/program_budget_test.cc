#include "engine/grammar/program_budget.h"

#include <gmock/gmock.h>

#include <thread>

#include "engine/grammar/grammar_test_util.h"

namespace hadal::grammar {
namespace {

TEST(ProgramBudget, RefusesWhatHasNoRoomUntilOthersLetGo) {
  const auto program = CompileGbnf("root ::= [a-z]{1,100}").value();
  ProgramBudget budget(2 * program->bytes() + 10);
  auto first = budget.Keep(CompileGbnf("root ::= [a-z]{1,100}").value()).value();
  auto copy = first;
  auto second = budget.Keep(CompileGbnf("root ::= [a-z]{1,100}").value()).value();
  EXPECT_EQ(budget.used(), 2 * program->bytes());
  const auto third = budget.Keep(program);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, Code::kResourceExhausted);
  EXPECT_THAT(third.error().message, testing::HasSubstr("try again later"));
  first = nullptr;
  EXPECT_FALSE(budget.Keep(program)) << "a choice still holds it";
  copy = nullptr;
  EXPECT_TRUE(budget.Keep(program));
  second = nullptr;
  EXPECT_EQ(budget.used(), 0u);
}

TEST(ProgramBudget, CountsExactlyWhateverHappensAtOnce) {
  const auto program = CompileGbnf("root ::= [a-z]{1,100}").value();
  ProgramBudget budget(3 * program->bytes());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const auto kept = budget.Keep(program);
        EXPECT_LE(budget.used(), 3 * program->bytes());
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used(), 0u);
}

TEST(ProgramBudget, TheLargestProgramFits) {
  // Just below the limits on nodes and edges.
  const auto program = CompileGbnf("root ::= ([ab]? [cd]? [ef]?){32000}").value();
  EXPECT_GT(program->node_count(), kMaxNodes * 9 / 10);
  EXPECT_LT(program->bytes(), kMaxProgramBytes / 6);
}

}  // namespace
}  // namespace hadal::grammar
