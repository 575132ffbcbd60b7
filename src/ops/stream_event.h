// One event of a streamed completion, as the servers of this API send it.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hadal {

struct TokenUsage {
  int64_t prompt = -1, cached = -1, generated = -1;  // -1: not said
};

struct StreamEvent {
  bool text = false;      // it shows something of the answer
  int64_t token_ids = 0;  // how many it names, where the server does that
  bool finished = false;  // it has a finish_reason
  TokenUsage usage;
  std::string error;  // the server's sentence where it reports a failure
};

/// Reads events of /v1/completions or /v1/chat/completions: OpenAI's fields, and what hadal, vLLM, SGLang and
/// llama.cpp do differently (`reasoning_content`, usage in every event, errors as "object":"error"). Keeps
/// its memory for the next event. One thread.
class StreamEventParser {
 public:
  /// `data` is that of one event; kDataLoss if it is not a JSON object.
  Result<StreamEvent> Parse(std::string_view data);

 private:
  simdjson::dom::parser parser_;
};

/// The sentence in the body of a refusal, whatever its form; control characters become blanks, at most 300
/// bytes.
std::string RefusalText(std::string_view body);

}  // namespace hadal
