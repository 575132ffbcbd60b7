// Methods of str.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

struct Method {
  std::string_view name;
  Result<Value> (*function)(Runtime& runtime, const Value& self, const Arguments& arguments);
};

/// The method, nullptr if Python's str has none of that name, or an error if it has one that is not
/// supported.
Result<const Method*> FindStringMethod(std::string_view name);

/// `text` with up to `count` (all if negative) occurrences of `from` replaced, as str.replace.
Result<Value> Replaced(Runtime& runtime, std::string_view text, std::string_view from, std::string_view to,
                       int64_t count);

}  // namespace hadal::jinja
