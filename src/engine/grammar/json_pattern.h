// Regular expressions of JSON schemas as grammars.
#pragma once

#include <string_view>

#include "engine/grammar/json_rules.h"

namespace hadal::grammar {

/// The contents of the JSON strings, without quotes, in which `pattern` (ECMA 262) is found. Characters are
/// written as JSON writes them, escaped only where they must be; what stands before and after an unanchored
/// match is any text. `grammar` has the JSON rules.
///
/// Taken: text, '.', sets, \d \w \s and their opposites, groups, '|', * + ? {m,n} (lazy or not), '^' at the
/// start and '$' at the end of the whole or of an alternative of the whole. kUnsupported, by name: everything
/// else, such as \b, look-around, back-references and \p. kInvalidArgument: what is no regular expression.
Result<ExprId> PatternContents(Grammar& grammar, std::string_view pattern, const JsonOptions& options);

}  // namespace hadal::grammar
