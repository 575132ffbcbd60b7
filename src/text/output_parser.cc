#include "text/output_parser.h"

#include <algorithm>
#include <optional>

namespace hadal {
namespace {

constexpr std::string_view kThinkBegin = "<think>", kThinkEnd = "</think>";
constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>", kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kWhiteSpace = " \t\r\n";
// OpenAI allows 64; other engines, none.
constexpr size_t kMaxNameBytes = 256;

/// Bytes at the end of `text` that a marker may begin with: the longest proper prefix of it that is a suffix.
size_t PartialMarker(std::string_view text, std::string_view marker) {
  for (size_t length = std::min(text.size(), marker.size() - 1); length > 0; --length) {
    if (text.ends_with(marker.substr(0, length))) return length;
  }
  return 0;
}

/// Whether `text` may still become `marker`.
bool IsPrefixOf(std::string_view text, std::string_view marker) {
  return text.size() < marker.size() && marker.starts_with(text);
}

std::string_view Trim(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kWhiteSpace), text.size());
  return text.substr(begin, text.find_last_not_of(kWhiteSpace) + 1 - begin);
}

bool HasMarker(std::string_view text) {
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{kCallsBegin, kCallsEnd, kCallBegin, kCallEnd, kSeparator},
      [&](std::string_view marker) { return text.find(marker) != text.npos; });
}

/// A function's name: no white space or markup in it.
bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, [](unsigned char c) {
    return c > ' ' && c != '<' && c != '>' && c != '`' && c != 0x7F;
  });
}

/// "NAME\n```json\nARGUMENTS\n```", with any white space around each part.
std::optional<ToolCall> ParseFenced(std::string_view text) {
  constexpr std::string_view kFence = "```", kLanguage = "json";
  const size_t line_end = text.find('\n');
  if (line_end == text.npos) return std::nullopt;
  std::string_view block = Trim(text.substr(line_end));
  if (block.size() < 2 * kFence.size() || !block.starts_with(kFence) || !block.ends_with(kFence))
    return std::nullopt;
  block = block.substr(kFence.size(), block.size() - 2 * kFence.size());
  if (block.starts_with(kLanguage)) block.remove_prefix(kLanguage.size());
  return ToolCall{std::string(Trim(text.substr(0, line_end))), std::string(Trim(block))};
}

/// What stands between the begin and the end marker of a call; nothing if it isn't well-formed.
std::optional<ToolCall> ParseCall(std::string_view body, ToolCallFormat format) {
  const size_t separator = body.find(kSeparator);
  if (separator == body.npos) return std::nullopt;
  const std::string_view before = Trim(body.substr(0, separator));
  const std::string_view after = body.substr(separator + kSeparator.size());
  if (HasMarker(before) || HasMarker(after)) return std::nullopt;
  std::optional<ToolCall> call;
  if (format == ToolCallFormat::kDeepSeekV31) {
    call = ToolCall{std::string(before), std::string(Trim(after))};
  } else if (before == "function") {
    call = ParseFenced(after);
  }
  return call && IsName(call->name) ? call : std::nullopt;
}

}  // namespace

OutputFormat DetectOutputFormat(std::string_view chat_template) {
  const auto has = [&](std::string_view text) { return chat_template.find(text) != chat_template.npos; };
  OutputFormat format{.reasoning = has(kThinkEnd)};
  if (has(kCallBegin))
    format.tools = has("```json") ? ToolCallFormat::kDeepSeekV3 : ToolCallFormat::kDeepSeekV31;
  return format;
}

bool EndsInsideThinking(std::string_view prompt) {
  return prompt.substr(0, prompt.find_last_not_of(kWhiteSpace) + 1).ends_with(kThinkBegin);
}

OutputParser::OutputParser(const Options& options)
    : tools_(options.parse_tools ? options.format.tools : ToolCallFormat::kNone),
      state_(!options.format.reasoning ? State::kContent
             : options.inside_thinking ? State::kReasoningStart
                                       : State::kStart) {}

OutputParser::Delta OutputParser::Push(std::string_view piece) {
  held_.append(piece);
  Delta out;
  while (Step(out)) {
  }
  return out;
}

OutputParser::Delta OutputParser::Finish() {
  Delta out;
  if (state_ == State::kReasoning) {
    out.reasoning = std::move(held_);
  } else if (state_ == State::kStart || state_ == State::kContent || state_ == State::kCall) {
    out.content = std::move(held_);
  } else if (state_ == State::kCalls) {
    const bool only_space = any_call_ && held_.find_first_not_of(kWhiteSpace) == held_.npos;
    if (!only_space) out.content = std::move(held_);
  }
  held_.clear();
  scanned_ = 0;
  state_ = State::kContent;
  return out;
}

/// One step as far as held_ allows. False: more text is needed.
bool OutputParser::Step(Delta& out) {
  switch (state_) {
    case State::kStart:
      return StepStart();
    case State::kReasoningStart:
      return StepLineBreaks(State::kReasoning);
    case State::kReasoning:
      return StepReasoning(out);
    case State::kContentStart:
      return StepLineBreaks(State::kContent);
    case State::kContent:
      return StepContent(out);
    case State::kCalls:
      return StepCalls(out);
    case State::kCall:
      return StepCall(out);
  }
  return false;
}

/// Forgets the first `bytes` of held_.
bool OutputParser::Advance(size_t bytes, State next) {
  held_.erase(0, bytes);
  scanned_ = 0;
  state_ = next;
  return true;
}

bool OutputParser::StepStart() {
  const size_t begin = held_.find_first_not_of(kWhiteSpace, scanned_);
  scanned_ = std::min(begin, held_.size());
  const std::string_view rest = std::string_view(held_).substr(scanned_);
  if (rest.starts_with(kThinkBegin)) return Advance(scanned_ + kThinkBegin.size(), State::kReasoningStart);
  if (IsPrefixOf(rest, kThinkBegin)) return false;
  return Advance(0, State::kContent);
}

bool OutputParser::StepLineBreaks(State next) {
  const size_t begin = held_.find_first_not_of("\r\n");
  if (begin != held_.npos) return Advance(begin, next);
  held_.clear();
  return false;
}

bool OutputParser::StepReasoning(Delta& out) {
  const size_t end = held_.find(kThinkEnd);
  const bool found = end != held_.npos;
  const std::string_view certain =
      std::string_view(held_).substr(0, found ? end : held_.size() - PartialMarker(held_, kThinkEnd));
  // Line breaks count only if something other than the marker follows.
  const size_t length = certain.find_last_not_of("\r\n") + 1;
  out.reasoning.append(certain.substr(0, length));
  if (found) return Advance(end + kThinkEnd.size(), State::kContentStart);
  Advance(length, State::kReasoning);
  return false;
}

bool OutputParser::StepContent(Delta& out) {
  const size_t begin = tools_ == ToolCallFormat::kNone ? held_.npos : held_.find(kCallsBegin);
  if (begin != held_.npos) {
    out.content.append(held_, 0, begin);
    any_call_ = false;
    Advance(begin, State::kCalls);
    scanned_ = kCallsBegin.size();
    return true;
  }
  const size_t partial = tools_ == ToolCallFormat::kNone ? 0 : PartialMarker(held_, kCallsBegin);
  out.content.append(held_, 0, held_.size() - partial);
  Advance(held_.size() - partial, State::kContent);
  return false;
}

/// The markup up to `end` is content after all.
bool OutputParser::Fail(size_t end, Delta& out) {
  out.content.append(held_, 0, end);
  return Advance(end, State::kContent);
}

bool OutputParser::StepCalls(Delta& out) {
  scanned_ = std::min(held_.find_first_not_of(kWhiteSpace, scanned_), held_.size());
  const std::string_view rest = std::string_view(held_).substr(scanned_);
  if (rest.starts_with(kCallBegin)) {
    scanned_ += kCallBegin.size();
    state_ = State::kCall;
    return true;
  }
  if (rest.starts_with(kCallsEnd)) {
    const size_t end = scanned_ + kCallsEnd.size();
    return any_call_ ? Advance(end, State::kContent) : Fail(end, out);
  }
  if (IsPrefixOf(rest, kCallBegin) || IsPrefixOf(rest, kCallsEnd)) return false;
  return Fail(scanned_, out);
}

bool OutputParser::StepCall(Delta& out) {
  const size_t end = held_.find(kCallEnd, scanned_);
  if (end == held_.npos) {
    // The part that may begin the marker is looked at again.
    scanned_ = std::max(scanned_, held_.size() - PartialMarker(held_, kCallEnd));
    return false;
  }
  const size_t begin = held_.find(kCallBegin) + kCallBegin.size();
  std::optional<ToolCall> call = ParseCall(std::string_view(held_).substr(begin, end - begin), tools_);
  if (!call) return Fail(end + kCallEnd.size(), out);
  out.calls.push_back(*std::move(call));
  any_call_ = true;
  return Advance(end + kCallEnd.size(), State::kCalls);
}

}  // namespace hadal
