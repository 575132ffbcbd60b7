// Values as text: what Python's str() and repr() print, and JSON in both directions.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

/// The shortest decimal that reads back as `value`, written as Python does: 1.0, 1e+16, inf, nan.
std::string FloatText(double value);

/// str(value). Undefined is the empty text. An object (a namespace, macro or function) is an error.
Result<std::string> Str(Runtime& runtime, const Value& value);
/// repr(value): as Str, with strings quoted.
Result<std::string> Repr(Runtime& runtime, const Value& value);

struct JsonStyle {
  bool ascii = false;  // escape every character beyond ASCII
  bool sort_keys = false;
  std::optional<std::string> indent;  // one level's indentation; everything on one line if absent
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// Python's json.dumps. Undefined and objects are errors, as there.
Result<std::string> ToJson(Runtime& runtime, const Value& value, const JsonStyle& style);

/// Reads a JSON document, keeping the order of keys; a repeated key keeps its first place and its last value.
/// Integers must fit into 64 bits with sign. Nesting is limited to kMaxValueDepth.
Result<Value> ParseJson(std::string_view json);

}  // namespace hadal::jinja
