#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace hadal {
namespace {

std::string_view LastCharacter(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

// Where the white space at the end of `text` begins.
size_t TrailingSpace(std::string_view text) {
  while (!text.empty()) {
    const std::string_view last = LastCharacter(text);
    if (!IsWhiteSpace(DecodeUtf8(last))) break;
    text.remove_suffix(last.size());
  }
  return text.size();
}

// How many bytes of white space `text` begins with.
size_t LeadingSpace(std::string_view text) {
  size_t at = 0;
  while (at < text.size() && IsWhiteSpace(DecodeUtf8(text.substr(at))))
    at += NextUtf8(text.substr(at)).length;
  return at;
}

}  // namespace

Result<AddedTokens> AddedTokens::Create(std::vector<AddedToken> tokens) {
  // Here the reference asks another engine than for Split: its \w has the two joiners and no numbers of
  // Latin-1.
  ASSIGN_OR_RETURN(Regex word,
                   Regex::Compile(R"((?![\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}])[\w\x{200c}\x{200d}])"));
  AddedTokens added(std::move(word));
  for (AddedToken& token : tokens) {
    Group& group = token.normalized ? added.normalized_ : added.raw_;
    group.begins[static_cast<uint8_t>(token.content[0])] = true;
    group.sorted.push_back(std::move(token));
  }
  for (Group* group : {&added.raw_, &added.normalized_})
    std::sort(group->sorted.begin(), group->sorted.end(),
              [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  return added;
}

// The longest token of `group` that `text` begins with, or null. Byte by byte the range of tokens that agree
// so far narrows; one that ends here is the first of its range.
const AddedToken* AddedTokens::LongestAt(const Group& group, std::string_view text) {
  const AddedToken* longest = nullptr;
  auto first = group.sorted.begin(), last = group.sorted.end();
  for (size_t depth = 0; first != last; ++depth) {
    if (first->content.size() == depth) longest = &*first++;
    if (depth == text.size()) break;
    const auto byte = static_cast<uint8_t>(text[depth]);
    const auto at = [depth](const AddedToken& token) { return static_cast<uint8_t>(token.content[depth]); };
    first = std::partition_point(first, last, [&](const AddedToken& token) { return at(token) < byte; });
    last = std::partition_point(first, last, [&](const AddedToken& token) { return at(token) == byte; });
  }
  return longest;
}

Result<bool> AddedTokens::StandsAlone(std::string_view before, std::string_view after, RegexRun& run) const {
  std::vector<TextSpan> spans;
  for (const std::string_view neighbour : {before.empty() ? before : LastCharacter(before),
                                           after.empty() ? after : after.substr(0, NextUtf8(after).length)}) {
    RETURN_IF_ERROR(word_.Split(neighbour, run, spans));
    if (!spans.empty() && spans[0].matched) return false;
  }
  return true;
}

Status AddedTokens::SplitBy(const Group& group, std::string_view text, RegexRun& run,
                            std::vector<Segment>& out) const {
  size_t done = 0;  // end of what is in `out`
  for (size_t at = 0; at < text.size();) {
    const bool candidate = group.begins[static_cast<uint8_t>(text[at])];
    const AddedToken* token = candidate ? LongestAt(group, text.substr(at)) : nullptr;
    if (!token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word) {
      ASSIGN_OR_RETURN(const bool alone, StandsAlone(text.substr(0, begin), text.substr(end), run));
      if (!alone) continue;
    }
    if (token->lstrip) begin = std::max(TrailingSpace(text.substr(0, begin)), done);
    if (token->rstrip) end += LeadingSpace(text.substr(end));
    if (begin >= end) continue;  // white space that the token before took along
    if (done < begin) out.push_back({text.substr(done, begin - done), -1});
    out.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), -1});
  return {};
}

Result<std::vector<Segment>> AddedTokens::Split(std::string_view text, RegexRun& run) const {
  std::vector<Segment> first, out;
  RETURN_IF_ERROR(SplitBy(raw_, text, run, first));
  for (const Segment& segment : first) {
    if (segment.id >= 0)
      out.push_back(segment);
    else
      RETURN_IF_ERROR(SplitBy(normalized_, segment.text, run, out));
  }
  return out;
}

}  // namespace hadal
