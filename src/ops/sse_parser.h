// Server-sent events out of a stream of bytes, however the network has cut it.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hadal {

/// The part of the WHATWG's event stream format that OpenAI's API uses: "data" lines, joined by a newline
/// where an event has several; comments and other fields are skipped; lines end with LF, CR LF or CR. Holds
/// one event at most.
class SseParser {
 public:
  static constexpr size_t kMaxEventBytes = size_t{4} << 20;

  /// `on_data` gets the data of each event that is complete; false ends the parsing of these bytes.
  /// kResourceExhausted if an event or line is larger than kMaxEventBytes.
  Status Feed(std::string_view bytes, const std::function<bool(std::string_view data)>& on_data);

  /// Whether the stream stands in the middle of an event.
  bool inside_event() const { return !line_.empty() || has_data_; }

 private:
  void EndLine();

  std::string line_;  // begun and not ended
  std::string data_;  // of the event so far
  bool has_data_ = false;
  bool complete_ = false;  // data_ is an event
  bool after_cr_ = false;  // an LF now belongs to the CR before it
};

}  // namespace hadal
