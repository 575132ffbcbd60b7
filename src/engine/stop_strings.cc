#include "engine/stop_strings.h"

#include <algorithm>
#include <utility>

namespace hadal {
namespace {

std::vector<uint16_t> Borders(const std::string& text) {
  static_assert(kMaxStopStringBytes <= UINT16_MAX);
  std::vector<uint16_t> border(text.size(), 0);
  size_t length = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = border[length - 1];
    if (text[i] == text[length]) ++length;
    border[i] = static_cast<uint16_t>(length);
  }
  return border;
}

}  // namespace

Status ValidateStopStrings(const std::vector<std::string>& stops) {
  if (static_cast<int64_t>(stops.size()) > kMaxStopStrings) {
    return InvalidArgument("the request has {} stop strings; at most {} are allowed", stops.size(),
                           kMaxStopStrings);
  }
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty()) return InvalidArgument("stop string {} is empty; leave it out or give it text", i);
    if (static_cast<int64_t>(stops[i].size()) > kMaxStopStringBytes) {
      return InvalidArgument("stop string {} has {} bytes; at most {} are allowed", i, stops[i].size(),
                             kMaxStopStringBytes);
    }
  }
  return {};
}

void StopStrings::Pattern::Advance(char byte) {
  while (matched > 0 && text[matched] != byte) matched = border[matched - 1];
  if (text[matched] == byte) ++matched;
}

Result<StopStrings> StopStrings::Create(std::vector<std::string> stops) {
  RETURN_IF_ERROR(ValidateStopStrings(stops));
  return StopStrings(std::move(stops));
}

StopStrings::StopStrings(std::vector<std::string> stops) {
  patterns_.reserve(stops.size());
  for (std::string& stop : stops) {
    std::vector<uint16_t> border = Borders(stop);
    patterns_.push_back({std::move(stop), std::move(border), 0});
  }
}

/// Takes every pattern past `byte`. Returns the longest that is complete, the first of equals, or null;
/// `longest` becomes the most bytes that any has matched.
const StopStrings::Pattern* StopStrings::AdvanceAll(char byte, size_t& longest) {
  const Pattern* complete = nullptr;
  longest = 0;
  for (Pattern& pattern : patterns_) {
    pattern.Advance(byte);
    longest = std::max(longest, pattern.matched);
    if (pattern.matched < pattern.text.size()) continue;
    if (complete == nullptr || pattern.text.size() > complete->text.size()) complete = &pattern;
  }
  return complete;
}

StopStrings::Out StopStrings::Push(std::string_view piece) {
  if (stop_index_ >= 0) return {"", true, stop_index_};
  size_t longest = held_.size();
  for (char byte : piece) {
    held_.push_back(byte);
    const Pattern* complete = AdvanceAll(byte, longest);
    if (complete == nullptr) continue;
    held_.resize(held_.size() - complete->text.size());
    stop_index_ = static_cast<int32_t>(complete - patterns_.data());
    return {std::exchange(held_, {}), true, stop_index_};
  }
  const size_t certain = held_.size() - longest;
  Out out{held_.substr(0, certain)};
  held_.erase(0, certain);
  return out;
}

std::string StopStrings::Flush() {
  for (Pattern& pattern : patterns_) pattern.matched = 0;
  stop_index_ = -1;
  return std::exchange(held_, {});
}

}  // namespace hadal
