// models/tiny-bpe as part of the program; flags.cmake makes the source from the files there.
#pragma once

#include <string_view>

namespace hadal {

extern const std::string_view kTinyTokenizerJson;
extern const std::string_view kTinyTokenizerConfigJson;

}  // namespace hadal
