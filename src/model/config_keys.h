// The keys that a config.json may hold: read, or known and without meaning for inference.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/json_object.h"

namespace hadal {

/// The member of `candidates` with the least edit distance from `word`; the first of equals.
std::string_view NearestWord(std::string_view word, std::span<const std::string_view> candidates);

/// kInvalidArgument if `object` holds a key that is neither in `read` nor in `ignored`, naming it and the
/// nearest known one. A mistyped key must not become a default in silence.
Status CheckKeys(const JsonObject& object, std::span<const std::string_view> read,
                 std::span<const std::string_view> ignored);

/// Keys at the top of a config.json that ParseConfig reads or checks.
std::span<const std::string_view> ReadConfigKeys();
/// Keys there that training, generation defaults or bookkeeping write and inference does not need.
std::span<const std::string_view> IgnoredConfigKeys();

}  // namespace hadal
