#include "engine/grammar/json_numbers.h"

#include <algorithm>
#include <cmath>

namespace hadal::grammar {
namespace {

constexpr int kMoreFractionDigits = 10;

class Digits {
 public:
  explicit Digits(Grammar& grammar) : grammar_(grammar) {}

  ExprId Any(int64_t min, int64_t max) { return grammar_.Repeat(Range('0', '9'), min, max); }
  ExprId Range(char first, char last) {
    return grammar_.Class({{static_cast<char32_t>(first), static_cast<char32_t>(last)}});
  }

  /// Texts of digits from `low` to `high`, which are of one length. Recursion: a level a digit.
  ExprId SameLength(std::string_view low, std::string_view high) {
    const auto count = static_cast<int64_t>(low.size());
    if (low.find_first_not_of('0') == low.npos && high.find_first_not_of('9') == high.npos)
      return Any(count, count);
    const std::string_view low_rest = low.substr(1), high_rest = high.substr(1);
    if (low[0] == high[0]) return grammar_.Sequence({Range(low[0], low[0]), SameLength(low_rest, high_rest)});
    const std::string nines(low_rest.size(), '9'), zeros(low_rest.size(), '0');
    std::vector<ExprId> ways = {grammar_.Sequence({Range(low[0], low[0]), SameLength(low_rest, nines)}),
                                grammar_.Sequence({Range(high[0], high[0]), SameLength(zeros, high_rest)})};
    if (low[0] + 1 < high[0])
      ways.push_back(grammar_.Sequence(
          {Range(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1)), Any(count - 1, count - 1)}));
    return grammar_.Choice(std::move(ways));
  }

  /// Without sign; 0 <= low <= high.
  ExprId Magnitude(int64_t low, int64_t high) {
    std::vector<ExprId> ways;
    for (int64_t first = 0, last = 9;; first = last + 1, last = last * 10 + 9) {
      const int64_t a = std::max(first, low), b = std::min(last, high);
      if (a <= b) ways.push_back(SameLength(fmt::format("{}", a), fmt::format("{}", b)));
      if (last >= high) break;  // one more digit may be more than an int64 holds
    }
    return grammar_.Choice(std::move(ways));
  }

 private:
  Grammar& grammar_;
};

/// A bound's distance from zero, by its digits.
struct Decimal {
  int64_t whole = 0;
  std::string fraction;  // without zeros at its end
  bool exclusive = false;
};

Result<Decimal> ToDecimal(NumberBound bound) {
  const double size = std::abs(bound.value);
  if (!(size <= 1e15) || (size > 0 && size < 1e-12))
    return Unsupported("a bound of {}; numbers are bounded by what lies between 1e-12 and 1e15", bound.value);
  // The shortest digits that give the double, without exponent.
  std::string text = fmt::format("{:.12f}", size);
  for (int digits = 0; digits < 12; ++digits) {
    const std::string shorter = fmt::format("{:.{}f}", size, digits);
    if (std::stod(shorter) != size) continue;
    text = shorter;
    break;
  }
  Decimal decimal{0, {}, bound.exclusive};
  const size_t point = text.find('.');
  decimal.whole = std::stoll(text.substr(0, point));
  if (point != text.npos) decimal.fraction = text.substr(point + 1);
  decimal.fraction.erase(decimal.fraction.find_last_not_of('0') + 1);
  return decimal;
}

/// The fractions between two bounds of one whole part; either may be missing. Digits are compared from the
/// left, the bounds filled up with zeros to one length.
class Fractions {
 public:
  Fractions(Grammar& grammar, const Decimal* low, const Decimal* high)
      : grammar_(grammar), digits_(grammar), low_(low), high_(high) {
    if (low) low_digits_ = low->fraction;
    if (high) high_digits_ = high->fraction;
    count_ = std::max({low_digits_.size(), high_digits_.size(), size_t{1}});
    low_digits_.resize(count_, '0');
    high_digits_.resize(count_, '0');
  }

  /// With its point, or nothing; -1: there is none between the bounds.
  ExprId Whole() {
    std::vector<ExprId> ways;
    if (MayStop(0, low_ != nullptr, high_ != nullptr)) ways.push_back(grammar_.Empty());
    const ExprId some = More(0, low_ != nullptr, high_ != nullptr);
    if (some >= 0) ways.push_back(grammar_.Sequence({grammar_.Literal("."), some}));
    return ways.empty() ? -1 : grammar_.Choice(std::move(ways));
  }

 private:
  static bool IsZero(std::string_view digits) { return digits.find_first_not_of('0') == digits.npos; }

  /// Whether the number may end before digit `at`, while it equals the bounds that still bind.
  bool MayStop(size_t at, bool low_binds, bool high_binds) const {
    if (low_binds && (low_->exclusive || !IsZero(std::string_view(low_digits_).substr(at)))) return false;
    return !high_binds || !high_->exclusive || !IsZero(std::string_view(high_digits_).substr(at));
  }

  /// Digits from `at` on, at least one; -1: none.
  ExprId More(size_t at, bool low_binds, bool high_binds) {
    if (!low_binds && !high_binds) return digits_.Any(1, kMoreFractionDigits);
    if (at == count_) return PastBounds(low_binds, high_binds);
    const char low = low_binds ? low_digits_[at] : '0', high = high_binds ? high_digits_[at] : '9';
    std::vector<ExprId> ways;
    for (char digit = low; digit <= high; ++digit) {
      const bool on_low = low_binds && digit == low, on_high = high_binds && digit == high;
      const ExprId rest = More(at + 1, on_low, on_high);
      const bool stops = MayStop(at + 1, on_low, on_high);
      if (rest < 0 && !stops) continue;
      const ExprId after = rest < 0 ? grammar_.Empty() : stops ? grammar_.Optional(rest) : rest;
      ways.push_back(grammar_.Sequence({digits_.Range(digit, digit), after}));
    }
    return ways.empty() ? -1 : grammar_.Choice(std::move(ways));
  }

  /// All digits of a bound are equal; what follows decides.
  ExprId PastBounds(bool low_binds, bool high_binds) {
    const ExprId zeros = grammar_.Repeat(grammar_.Literal("0"), 1, kMoreFractionDigits);
    if (high_binds) return high_->exclusive || (low_binds && low_->exclusive) ? -1 : zeros;
    if (!low_->exclusive) return digits_.Any(1, kMoreFractionDigits);
    return grammar_.Sequence({grammar_.Repeat(grammar_.Literal("0"), 0, kMoreFractionDigits / 2),
                              digits_.Range('1', '9'), digits_.Any(0, kMoreFractionDigits / 2)});
  }

  Grammar& grammar_;
  Digits digits_;
  const Decimal *low_, *high_;
  std::string low_digits_, high_digits_;
  size_t count_;
};

/// Numbers without sign from `low` to `high`; -1: none.
ExprId Magnitudes(Grammar& grammar, const Decimal& low, const Decimal& high) {
  Digits digits(grammar);
  std::vector<ExprId> ways;
  const auto add = [&](int64_t first, int64_t last, const Decimal* from, const Decimal* to) {
    if (first > last) return;
    const ExprId fraction = Fractions(grammar, from, to).Whole();
    if (fraction >= 0) ways.push_back(grammar.Sequence({digits.Magnitude(first, last), fraction}));
  };
  if (low.whole == high.whole) {
    add(low.whole, low.whole, &low, &high);
  } else if (low.whole < high.whole) {
    add(low.whole, low.whole, &low, nullptr);
    add(low.whole + 1, high.whole - 1, nullptr, nullptr);
    add(high.whole, high.whole, nullptr, &high);
  }
  return ways.empty() ? -1 : grammar.Choice(std::move(ways));
}

}  // namespace

ExprId IntegersBetween(Grammar& grammar, int64_t low, int64_t high) {
  Digits digits(grammar);
  std::vector<ExprId> ways;
  if (low < 0)
    ways.push_back(
        grammar.Sequence({grammar.Literal("-"), digits.Magnitude(std::max<int64_t>(1, -high), -low)}));
  if (high >= 0) ways.push_back(digits.Magnitude(std::max<int64_t>(0, low), high));
  return grammar.Choice(std::move(ways));
}

Result<ExprId> NumbersBetween(Grammar& grammar, std::optional<NumberBound> low,
                              std::optional<NumberBound> high) {
  Decimal low_size{kLargestInteger, {}, false}, high_size{kLargestInteger, {}, false};
  if (low) {
    ASSIGN_OR_RETURN(low_size, ToDecimal(*low));
  }
  if (high) {
    ASSIGN_OR_RETURN(high_size, ToDecimal(*high));
  }
  const double lowest = low ? low->value : -1e18, highest = high ? high->value : 1e18;
  std::vector<ExprId> ways;
  const auto add = [&](const Decimal& from, const Decimal& to, bool negative) {
    const ExprId sizes = Magnitudes(grammar, from, to);
    if (sizes < 0) return;
    ways.push_back(negative ? grammar.Sequence({grammar.Literal("-"), sizes}) : sizes);
  };
  if (highest >= 0)
    add(lowest > 0 ? low_size : Decimal{0, {}, lowest == 0 && low_size.exclusive}, high_size, false);
  if (lowest < 0)
    add(highest < 0 ? high_size : Decimal{0, {}, highest == 0 && high_size.exclusive}, low_size, true);
  if (ways.empty()) return InvalidArgument("no number lies between the bounds");
  return grammar.Choice(std::move(ways));
}

}  // namespace hadal::grammar
