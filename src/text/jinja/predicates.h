// The tests of the language: `value is name(arguments)`.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

struct Predicate {
  std::string_view name;
  Result<bool> (*function)(Runtime& runtime, const Value& subject, const Arguments& arguments);
};

/// nullptr if there is no such test.
const Predicate* FindPredicate(std::string_view name);
/// The names of all tests, with commas, for messages.
std::string PredicateNames();

}  // namespace hadal::jinja
