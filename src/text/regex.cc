#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <time.h>

#include <algorithm>
#include <optional>

namespace hadal {
namespace {

constexpr size_t kMaxPatternBytes = 16 << 10;
// Starts tried in one call of PCRE2, so that a search without a match comes back to look at the clock.
constexpr size_t kWindow = 512;
// Backtracks of one match, besides 8 for each byte of the text: `\s*[\r\n]+` takes one for each blank.
constexpr size_t kBacktracks = 10'000'000;
constexpr uint32_t kHeapLimitKib = 64
                                   << 10;  // of the interpreter, used where the machine code's stack ran out

double ThreadSeconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::string PcreMessage(int code) {
  PCRE2_UCHAR buffer[160] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

size_t CharacterLength(std::string_view text, size_t at) {
  size_t end = at + 1;
  while (end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) ++end;
  return end - at;
}

}  // namespace

RegexRun::RegexRun(size_t text_bytes)
    : deadline_s_(ThreadSeconds() + 2.0 + 4e-6 * static_cast<double>(text_bytes)),
      until_look_(kWindow),
      match_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)) {
  pcre2_set_heap_limit(static_cast<pcre2_match_context*>(context_.get()), kHeapLimitKib);
}

void RegexRun::Free::operator()(void* data) const {
  pcre2_match_data_free(static_cast<pcre2_match_data*>(data));
}

void RegexRun::FreeContext::operator()(void* context) const {
  pcre2_match_context_free(static_cast<pcre2_match_context*>(context));
}

Status RegexRun::Spend(size_t starts) {
  if (starts < until_look_) {
    until_look_ -= starts;
    return {};
  }
  until_look_ = kWindow;
  if (ThreadSeconds() > deadline_s_) return ResourceExhausted("it takes too long on this text");
  return {};
}

void Regex::FreeCode::operator()(void* code) const { pcre2_code_free(static_cast<pcre2_code*>(code)); }

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes)
    return InvalidArgument("a pattern has {} bytes; at most {} are taken", pattern.size(), kMaxPatternBytes);
  ASSIGN_OR_RETURN(const std::string translated, TranslateRegex(pattern));
  // In Ruby's syntax ^ and $ always match at line ends.
  return CompilePcre(pattern, translated, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
}

Result<Regex> Regex::Literal(std::string_view text) {
  if (text.size() > kMaxPatternBytes)
    return InvalidArgument("a pattern has {} bytes; at most {} are taken", text.size(), kMaxPatternBytes);
  return CompilePcre(text, text, PCRE2_UTF | PCRE2_LITERAL);
}

Result<Regex> Regex::CompilePcre(std::string_view shown, std::string_view pattern, uint32_t options) {
  int error = 0;
  size_t offset = 0;
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  Regex regex;
  regex.pattern_ = shown;
  regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  options | PCRE2_USE_OFFSET_LIMIT, &error, &offset, context.get()));
  if (!regex.code_) return InvalidArgument("the pattern '{}' is not valid: {}", shown, PcreMessage(error));
  // Where the system forbids making machine code this fails, and matching interprets instead: slower, the
  // same.
  pcre2_jit_compile(static_cast<pcre2_code*>(regex.code_.get()), PCRE2_JIT_COMPLETE);
  return regex;
}

// The first match in `text` that begins at `from` or later, or nothing.
Result<std::optional<TextSpan>> Regex::Next(std::string_view text, size_t from, RegexRun& run) const {
  auto* data = static_cast<pcre2_match_data*>(run.match_.get());
  auto* context = static_cast<pcre2_match_context*>(run.context_.get());
  const auto match = [&](uint32_t options) {
    return pcre2_match(static_cast<const pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(text.data()),
                       text.size(), from, options | PCRE2_NO_UTF_CHECK, data, context);
  };
  pcre2_set_match_limit(context,
                        static_cast<uint32_t>(std::min<size_t>(kBacktracks + 8 * text.size(), UINT32_MAX)));
  while (from <= text.size()) {
    const size_t last = std::min(from + kWindow, text.size());
    pcre2_set_offset_limit(context, last);
    int rc = match(0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
      return ResourceExhausted("{} in {} bytes of text", PcreMessage(rc), text.size());
    if (rc >= 0) {
      const size_t* found = pcre2_get_ovector_pointer(data);
      RETURN_IF_ERROR(run.Spend(1 + found[0] - from));
      return TextSpan{found[0], found[1], true};
    }
    RETURN_IF_ERROR(run.Spend(1 + last - from));
    from = last + 1;
    while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xC0) == 0x80) ++from;
  }
  return std::nullopt;
}

Status Regex::Split(std::string_view text, RegexRun& run, std::vector<TextSpan>& spans) const {
  spans.clear();
  size_t from = 0, done = 0;  // `done`: the end of what is in `spans`
  bool any = false;
  while (from <= text.size()) {
    auto found = Next(text, from, run);
    if (!found)
      return MakeError(found.error().code, "the pattern '{}' cannot be used: {}", pattern_,
                       found.error().message);
    if (!found->has_value()) break;
    const TextSpan& match = **found;
    if (any && match.begin == match.end && match.begin == done) {
      from += CharacterLength(text, from);
      continue;
    }
    if (done != match.begin) spans.push_back({done, match.begin, false});
    spans.push_back(match);
    from = done = match.end;
    any = true;
  }
  if (done != text.size()) spans.push_back({done, text.size(), false});
  return {};
}

}  // namespace hadal
