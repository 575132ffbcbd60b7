// hadal.yaml, read strictly: a small subset of YAML, in which nothing means two things.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// A value of the file, or a field of one of its maps, and where it stands.
struct ConfigValue {
  enum class Kind {
    kPlain,    // written without quotes
    kQuoted,   // in quotes, or as a block of text
    kNothing,  // null, ~, or nothing at all
    kList,
    kMap,
  };
  Kind kind = Kind::kNothing;
  int line = 0;                    // from 1
  std::string key;                 // of a map's field
  std::string text;                // of kPlain and kQuoted
  std::vector<ConfigValue> items;  // of kList; the fields of kMap, in the file's order
};

inline constexpr size_t kMaxConfigFileBytes = size_t{256} << 10;
inline constexpr size_t kMaxConfigDepth = 4;      // section, list, map, value
inline constexpr size_t kMaxConfigValues = 4096;  // in all

/// The map at the top of `text`. kInvalidArgument, as "NAME:LINE: what is wrong": no YAML, no UTF-8, more
/// than one document, a key that stands twice, anchors, aliases and tags, anything beyond the limits above.
/// An empty document is an empty map.
Result<ConfigValue> ParseConfigFile(std::string_view text, std::string_view name);

/// Reads and parses a file. kPermissionDenied: everybody may write it.
Result<ConfigValue> ReadConfigFile(const Path& path);

}  // namespace hadal
