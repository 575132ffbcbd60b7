#include "ops/sse_parser.h"

namespace hadal {

void SseParser::EndLine() {
  if (line_.empty()) {
    complete_ = has_data_;
    return;
  }
  std::string_view line = line_;
  if (line.starts_with("data:")) {
    line.remove_prefix(5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += line;
    has_data_ = true;
  }
  line_.clear();
}

Status SseParser::Feed(std::string_view bytes, const std::function<bool(std::string_view)>& on_data) {
  while (!bytes.empty()) {
    if (after_cr_) {
      after_cr_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (part.size() + line_.size() + data_.size() > kMaxEventBytes)
      return ResourceExhausted("an event of the stream is larger than {} bytes", kMaxEventBytes);
    line_ += part;
    if (end == std::string_view::npos) return {};
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    EndLine();
    if (!complete_) continue;
    const bool go_on = on_data(data_);
    data_.clear();
    has_data_ = complete_ = false;
    if (!go_on) return {};
  }
  return {};
}

}  // namespace hadal
