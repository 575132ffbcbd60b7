// Reading the arguments of filters, tests, methods and functions, with the errors that Python gives.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

/// The arguments of `callee` in the order of `names`, from positions and then by name; null where absent.
/// Errors for too many, unknown and doubled arguments, and if one of the first `required` is absent. The
/// pointers live as long as `arguments`.
Result<std::vector<const Value*>> Bind(std::string_view callee, const Arguments& arguments,
                                       std::initializer_list<std::string_view> names, size_t required = 0);

/// Typed reading of one bound argument; `fallback` where it is absent.
Result<int64_t> IntegerOr(std::string_view callee, const Value* argument, int64_t fallback);
Result<std::string> StringOr(std::string_view callee, const Value* argument, std::string_view fallback);
inline bool TruthOr(const Value* argument, bool fallback) { return argument ? argument->truth() : fallback; }

}  // namespace hadal::jinja
