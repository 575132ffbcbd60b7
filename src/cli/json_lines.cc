#include "cli/json_lines.h"

#include <cerrno>
#include <cstring>

namespace hadal {

Result<std::optional<std::string>> LineReader::Next() {
  std::string line;
  char piece[65536];
  bool any = false;
  while (std::fgets(piece, sizeof piece, stream_) != nullptr) {
    any = true;
    // fgets stops at a newline; a zero byte before it would hide the rest, and no JSON text has one.
    const size_t length = std::strlen(piece);
    if (line.size() + length > kMaxLineBytes)
      return ResourceExhausted("line {} of the input is longer than {} bytes", number_ + 1, kMaxLineBytes);
    line.append(piece, length);
    if (line.ends_with('\n')) break;
  }
  if (std::ferror(stream_) != 0) return Unavailable("cannot read the input: {}", std::strerror(errno));
  if (!any) return std::nullopt;
  ++number_;
  if (line.ends_with('\n')) line.pop_back();
  return line;
}

Result<std::string> ReadAll(std::FILE* stream, size_t max_bytes, const char* what) {
  std::string text;
  char piece[65536];
  for (size_t count; (count = std::fread(piece, 1, sizeof piece, stream)) > 0;) {
    if (text.size() + count > max_bytes)
      return ResourceExhausted("{} is longer than {} bytes", what, max_bytes);
    text.append(piece, count);
  }
  if (std::ferror(stream) != 0) return Unavailable("cannot read {}: {}", what, std::strerror(errno));
  return text;
}

Result<nlohmann::ordered_json> ParseJsonText(const std::string& text) {
  // The library's messages begin with its own code in brackets.
  try {
    return nlohmann::ordered_json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    std::string message = error.what();
    if (const size_t end = message.find("] "); end != std::string::npos) message.erase(0, end + 2);
    for (char& c : message)
      if (c == '\n') c = ' ';
    return InvalidArgument("not JSON: {}", message.substr(0, 300));
  }
}

std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace hadal
