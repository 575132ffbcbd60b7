#include "text/pre_tokenizer.h"

#include <algorithm>

namespace hadal {
namespace {

// Joins each match that follows a stretch without one to that stretch, in the order given. Of neighbouring
// matches only the first is joined.
template <typename Join>
std::vector<TextSpan> JoinMatches(const std::vector<TextSpan>& spans, Join join) {
  std::vector<TextSpan> out;
  bool previous = false;
  for (const TextSpan& span : spans) {
    if (span.matched && !previous && !out.empty())
      join(out.back(), span);
    else
      out.push_back(span);
    previous = span.matched;
  }
  return out;
}

std::vector<TextSpan> JoinAlike(const std::vector<TextSpan>& spans) {
  std::vector<TextSpan> out;
  for (const TextSpan& span : spans) {
    if (!out.empty() && out.back().matched == span.matched)
      out.back().end = span.end;
    else
      out.push_back(span);
  }
  return out;
}

void Apply(SplitBehavior behavior, std::vector<TextSpan>& spans) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(spans, [](const TextSpan& span) { return span.matched; });
      return;
    case SplitBehavior::kContiguous:
      spans = JoinAlike(spans);
      return;
    case SplitBehavior::kMergedWithPrevious:
      spans = JoinMatches(spans, [](TextSpan& into, const TextSpan& span) { into.end = span.end; });
      return;
    case SplitBehavior::kMergedWithNext:
      std::reverse(spans.begin(), spans.end());
      spans = JoinMatches(spans, [](TextSpan& into, const TextSpan& span) { into.begin = span.begin; });
      std::reverse(spans.begin(), spans.end());
      return;
  }
}

}  // namespace

Status PreTokenizer::Split(std::string_view text, RegexRun& run, Pieces& pieces) const {
  std::vector<std::string_view> before;
  std::vector<TextSpan> spans;
  auto& views = pieces.views;
  pieces.prefixed.clear();
  views.clear();
  if (!text.empty()) views.push_back(text);
  const auto split_each = [&](const Regex& regex, SplitBehavior behavior, bool invert) -> Status {
    std::swap(before, views);
    views.clear();
    for (const std::string_view piece : before) {
      RETURN_IF_ERROR(regex.Split(piece, run, spans));
      if (invert)
        for (TextSpan& span : spans) span.matched = !span.matched;
      Apply(behavior, spans);
      for (const TextSpan& span : spans)
        if (span.begin != span.end) views.push_back(piece.substr(span.begin, span.end - span.begin));
    }
    return {};
  };
  for (const SplitStep& step : splits_) RETURN_IF_ERROR(split_each(step.regex, step.behavior, step.invert));
  if (byte_level_.add_prefix_space)
    for (std::string_view& piece : views)
      if (piece[0] != ' ') piece = pieces.prefixed.emplace_back(" " + std::string(piece));
  if (byte_level_.regex) RETURN_IF_ERROR(split_each(*byte_level_.regex, SplitBehavior::kIsolated, false));
  return {};
}

}  // namespace hadal
