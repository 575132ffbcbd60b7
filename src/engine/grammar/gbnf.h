// Grammars as text, in the dialect that llama.cpp documents (its grammars/README.md).
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "engine/grammar/grammar.h"

namespace hadal::grammar {

inline constexpr size_t kMaxGrammarBytes = size_t{64} << 10;
inline constexpr size_t kMaxRules = 4096;

/// The id of a token by its text; nothing where no token has exactly that text.
using FindToken = std::function<std::optional<int32_t>(std::string_view)>;

/// Adds the rules of `text` to `grammar`:
///
///   name ::= alternative | alternative      a rule; its name is letters, digits, '-' and '_'
///   "text"  [a-z]  [^a-z]  .                text, one character of a set, one outside it, any one
///   (...)  x*  x+  x?  x{m}  x{m,}  x{m,n}  groups and repetitions of what stands before
///   <[1000]>  <|token|>                     the token of an id, the token whose text is all of "<|token|>"
///   # ...                                   a comment, to the end of its line
///
/// Escapes: \n \r \t \" \\ \[ \] \- \xHH \uHHHH \UHHHHHHHH; the last three name a character, as in llama.cpp.
/// A rule ends with its line, except in a group, after '|' and where the next line begins with '|'.
///
/// kInvalidArgument, with line and column: what is no grammar, a rule that is defined twice, used and not
/// defined, or repeated more than kMaxRepetition times. kResourceExhausted: too long, too many rules, groups
/// too deep. kUnsupported: a negated token. Left recursion is for Program::Compile to find.
Status ParseGbnf(std::string_view text, Grammar& grammar, const FindToken& find_token = {});

}  // namespace hadal::grammar
