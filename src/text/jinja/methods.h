// Methods of strings, dicts and lists.
#pragma once

#include <optional>
#include <string_view>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

/// The method `name` bound to `receiver`, or nothing if Python's type has no such method. A method that
/// exists in Python and not here, or that would change its receiver, is an error that says so.
Result<std::optional<Value>> FindMethod(Runtime& runtime, const Value& receiver, std::string_view name);

/// receiver.name(arguments), as FindMethod and a call, without making the bound method a value.
/// Nothing if there is no such method.
Result<std::optional<Value>> CallMethod(Runtime& runtime, const Value& receiver, std::string_view name,
                                        const Arguments& arguments);

}  // namespace hadal::jinja
