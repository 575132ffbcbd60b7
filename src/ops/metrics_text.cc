#include "ops/metrics_text.h"

#include <charconv>

namespace hadal {
namespace {

/// Labels may have blanks in their values: the value stands behind the closing brace, or the first blank.
size_t EndOfSeries(std::string_view line) {
  const size_t brace = line.find('{');
  if (brace == std::string_view::npos || brace > line.find(' ')) return line.find(' ');
  bool quoted = false;
  for (size_t i = brace; i < line.size(); ++i) {
    if (quoted && line[i] == '\\')
      ++i;
    else if (line[i] == '"')
      quoted = !quoted;
    else if (line[i] == '}' && !quoted)
      return i + 1;
  }
  return std::string_view::npos;
}

}  // namespace

MetricsText::MetricsText(std::string_view exposition) {
  while (!exposition.empty()) {
    const std::string_view line = exposition.substr(0, exposition.find('\n'));
    exposition.remove_prefix(std::min(line.size() + 1, exposition.size()));
    if (line.empty() || line.front() == '#') continue;
    const size_t end = EndOfSeries(line);
    if (end == std::string_view::npos || end + 1 >= line.size()) continue;
    double value = 0;
    const std::string_view number = line.substr(end + 1);
    if (std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc())
      series_.emplace(line.substr(0, end), value);
  }
}

std::optional<double> MetricsText::Sum(std::string_view name, std::string_view part) const {
  std::optional<double> sum;
  for (auto at = series_.lower_bound(name); at != series_.end() && at->first.starts_with(name); ++at) {
    const std::string_view rest = std::string_view(at->first).substr(name.size());
    if (!rest.empty() && rest.front() != '{') continue;
    if (rest.find(part) != std::string_view::npos) sum = sum.value_or(0) + at->second;
  }
  return sum;
}

}  // namespace hadal
