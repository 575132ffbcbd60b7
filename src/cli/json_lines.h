// JSON from standard input.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/status.h"

namespace hadal {

/// Lines of a stream, one after another, in bounded memory.
class LineReader {
 public:
  explicit LineReader(std::FILE* stream) : stream_(stream) {}

  /// The next line without its end; nothing at the end of the stream. kResourceExhausted: longer than
  /// kMaxLineBytes; kUnavailable: it cannot be read.
  Result<std::optional<std::string>> Next();
  /// The number of the line that Next gave, from 1.
  int64_t number() const { return number_; }

  // The largest text that the tokenizer takes is 64 MiB; \u escapes may make it six times as long.
  static constexpr size_t kMaxLineBytes = size_t{400} << 20;

 private:
  std::FILE* stream_;
  int64_t number_ = 0;
};

/// All of a stream; kResourceExhausted beyond `max_bytes`. `what` is for errors.
Result<std::string> ReadAll(std::FILE* stream, size_t max_bytes, const char* what);

/// kInvalidArgument, with the place, for what is not JSON.
Result<nlohmann::ordered_json> ParseJsonText(const std::string& text);

/// As short as can be, in UTF-8; what is not UTF-8 becomes U+FFFD.
std::string JsonText(const nlohmann::ordered_json& json);

}  // namespace hadal
