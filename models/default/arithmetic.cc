// Sums of numbers up to 99, differences up to 99, the tables up to 12 x 12, and sums in a sentence.
#include <fmt/format.h>

#include "exchange.h"

namespace hadal::default_model {
namespace {

const std::vector<std::string> kSumForms = {"{}+{}",
                                            "{}+{}=",
                                            "What is {} + {}?",
                                            "{} + {}",
                                            "{} + {} = ?",
                                            "How much is {} + {}?",
                                            "What is {} plus {}?",
                                            "Add {} and {}.",
                                            "{} plus {}?",
                                            "Compute {} + {}.",
                                            "Please compute {} + {}.",
                                            "What is the sum of {} and {}?",
                                            "Can you add {} and {}?"};
const std::vector<std::string> kDifferenceForms = {"{}-{}",
                                                   "{}-{}=",
                                                   "What is {} - {}?",
                                                   "{} - {}",
                                                   "{} - {} = ?",
                                                   "How much is {} - {}?",
                                                   "What is {} minus {}?",
                                                   "{} minus {}?",
                                                   "Compute {} - {}.",
                                                   "Please compute {} - {}.",
                                                   "How much is {} less {}?"};
const std::vector<std::string> kProductForms = {"{}*{}",
                                                "{}x{}",
                                                "What is {} x {}?",
                                                "{} x {}",
                                                "{} * {} = ?",
                                                "How much is {} x {}?",
                                                "What is {} times {}?",
                                                "Multiply {} and {}.",
                                                "{} times {}?",
                                                "Compute {} * {}.",
                                                "What is {} * {}?",
                                                "What is the product of {} and {}?",
                                                "{} * {}"};
const std::vector<std::string> kMore = {
    "{} has {} {} and gets {} more. How many are there now?",
    "There were {1} {2} at {0}'s place, and {3} more came. How many are there?",
    "{} buys {} {} and then {} more. How many is that?"};
const std::vector<std::string> kLess = {"{} has {} {} and gives {} away. How many are left?",
                                        "{} had {} {} and lost {}. How many are left?",
                                        "Of {0}'s {1} {2}, {3} are gone. How many are left?"};

std::string Form(const std::string& form, int64_t a, int64_t b) {
  return fmt::format(fmt::runtime(form), a, b);
}

}  // namespace

Exchange Sum(Dice& dice) {
  // Three in four stay below a hundred.
  const int64_t a = dice.Between(0, 99), b = dice.Chance(75) ? dice.Between(0, 99 - a) : dice.Between(0, 99);
  // 3 + 4 and 4 + 3 are one question.
  return AskAndAnswer("sum", fmt::format("sum {} {}", std::min(a, b), std::max(a, b)),
                      Form(dice.Of(kSumForms), a, b), fmt::format("{} + {} = {}", a, b, a + b));
}

Exchange Difference(Dice& dice) {
  const int64_t a = dice.Between(0, 99), b = dice.Between(0, a);
  return AskAndAnswer("difference", fmt::format("difference {} {}", a, b),
                      Form(dice.Of(kDifferenceForms), a, b), fmt::format("{} - {} = {}", a, b, a - b));
}

Exchange Product(Dice& dice) {
  const int64_t a = dice.Between(1, 12), b = dice.Between(1, 12);
  const auto form = static_cast<size_t>(dice.Below(static_cast<int64_t>(kProductForms.size())));
  // A table is learnt by heart: what is held out is a form of a question.
  return AskAndAnswer("product", fmt::format("product {} {} {}", a, b, form), Form(kProductForms[form], a, b),
                      fmt::format("{} x {} = {}", a, b, a * b));
}

Exchange WordProblem(Dice& dice) {
  static const std::vector<std::string> kNames = {"Ann",  "Ben",   "Clara", "David",
                                                  "Emma", "Felix", "Grace", "Henry"};
  static const std::vector<std::string> kThings = {"apples", "books", "shells", "coins", "stones", "cards"};
  const bool more = dice.Chance(50);
  const int64_t a = dice.Between(2, 89), b = more ? dice.Between(1, 99 - a) : dice.Between(1, a);
  const std::string question =
      fmt::format(fmt::runtime(dice.Of(more ? kMore : kLess)), dice.Of(kNames), a, dice.Of(kThings), b);
  const std::string key =
      more ? fmt::format("sum {} {}", std::min(a, b), std::max(a, b)) : fmt::format("difference {} {}", a, b);
  return AskAndAnswer(
      "word problem", key, question,
      more ? fmt::format("{} + {} = {}", a, b, a + b) : fmt::format("{} - {} = {}", a, b, a - b));
}

}  // namespace hadal::default_model
