// Regular expressions of tokenizer.json (Oniguruma's syntax) on PCRE2, with bounds on the work they may do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hadal {

/// Bytes [begin, end) of a text, and whether a pattern matched there.
struct TextSpan {
  size_t begin, end;
  bool matched;
};

/// One thread's use of patterns on one text: the engine's buffers, and the processor time that all of it may
/// take, 2 s and 4 µs a byte (some 40 times what DeepSeek's patterns need). The time stops patterns whose
/// cost grows with the square of the text.
class RegexRun {
 public:
  explicit RegexRun(size_t text_bytes);

 private:
  friend class Regex;
  struct Free {
    void operator()(void* data) const;
  };
  struct FreeContext {
    void operator()(void* context) const;
  };
  /// Counts `starts` places at which a match was tried; looks at the clock every few hundred of them.
  /// kResourceExhausted when the time is spent.
  Status Spend(size_t starts);

  double deadline_s_;                           // of the thread's own clock
  size_t until_look_;                           // starts
  std::unique_ptr<void, Free> match_;           // pcre2_match_data and
  std::unique_ptr<void, FreeContext> context_;  // pcre2_match_context: their header stays out of ours
};

/// A compiled pattern. Threads: const functions are safe from any number.
class Regex {
 public:
  /// Compiles Oniguruma's default (Ruby) syntax, as far as both engines mean the same by it or it can be
  /// rewritten; the rest is kUnsupported and named. kInvalidArgument: not a valid pattern, or longer than 16
  /// KB.
  static Result<Regex> Compile(std::string_view pattern);
  /// A pattern that matches `text` as it stands.
  static Result<Regex> Literal(std::string_view text);

  /// Replaces `spans` by the matches in `text`, left to right, and the stretches between them; together they
  /// are the whole text. An empty match is kept unless it touches the match before it. The pattern sees
  /// nothing outside of `text`, which must be valid UTF-8. kResourceExhausted: one match backtracked too
  /// often, or the run's time is spent.
  Status Split(std::string_view text, RegexRun& run, std::vector<TextSpan>& spans) const;

  const std::string& pattern() const { return pattern_; }

 private:
  struct FreeCode {
    void operator()(void* code) const;
  };

  Regex() = default;
  static Result<Regex> CompilePcre(std::string_view shown, std::string_view pattern, uint32_t options);
  Result<std::optional<TextSpan>> Next(std::string_view text, size_t from, RegexRun& run) const;

  std::string pattern_;
  std::unique_ptr<void, FreeCode> code_;  // pcre2_code
};

/// `pattern` rewritten from Oniguruma's syntax to PCRE2's, see Regex::Compile.
Result<std::string> TranslateRegex(std::string_view pattern);

}  // namespace hadal
