#include "engine/guess_control.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace hadal {
namespace {

/// Guesses made while an answer of `tokens` is written in which the guess at depth i is right with chance `chances[i]`
/// if those before it were.
struct Made {
  int64_t steps = 0, guesses = 0, right = 0;
};
Made Write(GuessControl& control, int64_t tokens, std::vector<double> chances) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform;
  Made made;
  for (int64_t generated = 1; generated < tokens; ++made.steps) {
    const int64_t guessed = control.Most(generated);
    int64_t right = 0;
    while (right < guessed && uniform(random) < chances[static_cast<size_t>(right)]) ++right;
    generated += 1 + right;
    control.Observe(guessed, right, generated);
    made.guesses += guessed;
    made.right += right;
  }
  return made;
}

TEST(GuessControl, GuessesThatNeverComeTrueStopAfterAFew) {
  GuessControl control(1, 0.6);
  const Made made = Write(control, 2000, {0.0});
  EXPECT_LT(made.guesses, 50) << "in 2000 steps";
  EXPECT_GT(made.guesses, 20) << "it never tried again";
}

TEST(GuessControl, GuessesThatPayGoOn) {
  GuessControl control(1, 0.6);
  const Made made = Write(control, 2000, {0.9});
  EXPECT_EQ(made.guesses, made.steps);
}

TEST(GuessControl, ACostOfNothingNeverStops) {
  GuessControl control(4, 0);
  const Made made = Write(control, 500, {0.0, 0.0, 0.0, 0.0});
  EXPECT_EQ(made.guesses, 4 * made.steps);
}

TEST(GuessControl, FurtherGuessesStopAlone) {
  GuessControl control(2, 0.5);
  const Made made = Write(control, 3000, {0.9, 0.1});
  EXPECT_GE(made.guesses, made.steps);
  EXPECT_LT(made.guesses, made.steps * 5 / 4);
}

TEST(GuessControl, WhatComesTrueLaterIsGuessedAgain) {
  GuessControl control(1, 0.5);
  Write(control, 600, {0.0});
  int64_t generated = 600;
  while (control.Most(generated) == 0) ++generated;
  EXPECT_LE(generated, 600 + GuessControl::kLongestPause);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(control.Most(generated), 1) << i;
    generated += 2;
    EXPECT_EQ(control.Observe(1, 1, generated), 0);
  }
  // Its pause is short again.
  while (control.Most(generated) == 1) control.Observe(1, 0, ++generated);
  EXPECT_EQ(control.Most(generated + GuessControl::kFirstPause), 1);
  EXPECT_EQ(control.Most(generated + GuessControl::kFirstPause - 1), 0);
}

TEST(GuessControl, AStepWithoutGuessesSaysNothing) {
  GuessControl control(2, 0.6);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(control.Observe(0, 0, i), 0);
  EXPECT_EQ(control.Most(1000), 2);
}

}  // namespace
}  // namespace hadal
