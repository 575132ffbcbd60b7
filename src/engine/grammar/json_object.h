// Objects and arrays of members that are expressions already.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/grammar/json_rules.h"

namespace hadal::grammar {

struct ObjectParts {
  struct Member {
    std::string name;
    ExprId value;
  };
  std::vector<Member> members;       // in their order
  std::set<std::string> names;       // declared: no additional property may have one
  std::set<std::string> required;    // names of members
  std::optional<ExprId> additional;  // of values of other members; nothing: there are none
  std::optional<int64_t> min, max;   // members
};

/// kUnsupported: counts that don't follow from the members.
/// @param prefix  for the names of rules; no other call has it.
Result<ExprId> ObjectExpression(Grammar& grammar, const ObjectParts& parts, const std::string& prefix,
                                const JsonOptions& options);

struct ArrayParts {
  std::vector<ExprId> first;        // the values at their places
  std::optional<ExprId> rest;       // the values after these; nothing: there are none
  std::optional<int64_t> min, max;  // values; without min, all of `first`
};

/// kInvalidArgument: no array has so many values.
Result<ExprId> ArrayExpression(Grammar& grammar, const ArrayParts& parts, const std::string& prefix);

}  // namespace hadal::grammar
