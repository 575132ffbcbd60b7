#include "text/jinja/arguments.h"

#include <algorithm>

namespace hadal::jinja {

Result<std::vector<const Value*>> Bind(std::string_view callee, const Arguments& arguments,
                                       std::initializer_list<std::string_view> names, size_t required) {
  if (arguments.positional.size() > names.size())
    return InvalidArgument("{} takes at most {} arguments, {} are given", callee, names.size(),
                           arguments.positional.size());
  std::vector<const Value*> bound(names.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end()) return InvalidArgument("{} has no argument '{}'", callee, name);
    const Value*& slot = bound[static_cast<size_t>(it - names.begin())];
    if (slot) return InvalidArgument("{}: argument '{}' is given twice", callee, name);
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!bound[i]) return InvalidArgument("{} needs the argument '{}'", callee, *(names.begin() + i));
  return bound;
}

Result<int64_t> IntegerOr(std::string_view callee, const Value* argument, int64_t fallback) {
  if (!argument) return fallback;
  if (auto i = argument->integer()) return *i;
  if (argument->is_undefined()) return InvalidArgument("{}: {}", callee, argument->why());
  return InvalidArgument("{} needs an int, found a {}", callee, argument->type_name());
}

Result<std::string> StringOr(std::string_view callee, const Value* argument, std::string_view fallback) {
  if (!argument) return std::string(fallback);
  if (argument->is_string()) return argument->as_string();
  if (argument->is_undefined()) return InvalidArgument("{}: {}", callee, argument->why());
  return InvalidArgument("{} needs a str, found a {}", callee, argument->type_name());
}

}  // namespace hadal::jinja
