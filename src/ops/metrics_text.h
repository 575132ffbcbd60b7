// The figures that a server shows to Prometheus, read back.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace hadal {

/// Series of the text exposition format, version 0.0.4, by their text: "name" or "name{label=\"value\"}".
class MetricsText {
 public:
  MetricsText() = default;
  /// Skips comments and what is no sample.
  explicit MetricsText(std::string_view exposition);

  /// The sum over all series of that name whose text has `part` in it; nothing if there are none.
  std::optional<double> Sum(std::string_view name, std::string_view part = {}) const;
  bool empty() const { return series_.empty(); }

 private:
  std::map<std::string, double, std::less<>> series_;
};

}  // namespace hadal
