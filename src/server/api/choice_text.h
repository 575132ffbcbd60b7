// From the tokens of one choice to the text that its client may see.
#pragma once

#include "engine/stop_strings.h"
#include "text/detokenizer.h"
#include "text/output_parser.h"

namespace hadal::api {

/// Decodes, ends at stop strings, divides. Stop strings are looked for in the whole text, reasoning and
/// markup included. Used by one thread at a time.
class ChoiceText {
 public:
  struct Out {
    OutputParser::Delta delta;
    bool stopped = false;     // a stop string is complete; the delta is the last
    int32_t stop_index = -1;  // which, by its place in the list
  };

  ChoiceText(const Tokenizer& tokenizer, StopStrings stops, const OutputParser::Options& options);

  /// An id that names no token becomes U+FFFD: models have rows of logits beyond their tokenizer's ids.
  Out Push(int32_t token);
  /// The end without a stop string.
  OutputParser::Delta Finish();

 private:
  StreamDecoder decoder_;
  StopStrings stops_;
  OutputParser parser_;
};

}  // namespace hadal::api
