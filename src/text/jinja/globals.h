// Functions that every template may call, and the namespace object.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

/// range, dict, namespace, raise_exception or strftime_now; nothing for another name. Jinja2's other global
/// functions are an error that says so.
Result<std::optional<Value>> FindGlobal(Runtime& runtime, std::string_view name);

/// What namespace() makes: the one thing whose attributes a template may set, across scopes.
class Namespace : public Object {
 public:
  std::string_view type_name() const override { return "Namespace"; }
  Result<std::optional<Value>> Attribute(Runtime& runtime, std::string_view name) override;
  Status Set(Runtime& runtime, std::string_view name, Value value);

 private:
  std::vector<std::pair<std::string, Value>> values_;
};

/// strftime of a local time with Python's directives for a time without zone: %z and %Z are empty.
Result<std::string> FormatTime(std::time_t now, std::string_view format);

}  // namespace hadal::jinja
