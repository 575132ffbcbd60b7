// Inside the safetensors parsers: JSON with bounded depth, and one wording for what may be wrong with it.
#pragma once

#include <simdjson.h>

#include <algorithm>
#include <string_view>

#include "base/status.h"

namespace hadal {

/// Deeper than any valid header or index, whose values are at most 3 deep.
inline constexpr size_t kMaxHeaderDepth = 16;

/// Parses `text` (which needs no padding); the element lives as long as `parser`. UTF-8 is checked, depth is
/// bounded; duplicate keys are kept, so the reader of an object must look for them. kDataLoss names `what`
/// and the cause.
inline Result<simdjson::dom::element> ParseBoundedJson(simdjson::dom::parser& parser, std::string_view text,
                                                       std::string_view what) {
  constexpr size_t kLeastCapacity = 32;  // simdjson would allocate anew, with its own depth, for less
  simdjson::error_code error = parser.allocate(std::max(text.size(), kLeastCapacity), kMaxHeaderDepth);
  simdjson::dom::element root;
  if (!error) error = parser.parse(text.data(), text.size(), /*realloc_if_needed=*/true).get(root);
  switch (error) {
    case simdjson::SUCCESS:
      return root;
    case simdjson::UTF8_ERROR:
      return DataLoss("{} is not valid UTF-8", what);
    case simdjson::DEPTH_ERROR:
      return DataLoss("{} is nested more than {} deep", what, kMaxHeaderDepth);
    case simdjson::MEMALLOC:
      return ResourceExhausted("no memory to read {}, {} bytes of JSON", what, text.size());
    default:
      return DataLoss("{} is not valid JSON: {}", what, simdjson::error_message(error));
  }
}

}  // namespace hadal
