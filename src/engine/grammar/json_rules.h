// The rules of JSON texts that schemas and free objects share.
#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>

#include "engine/grammar/grammar.h"

namespace hadal::grammar {

struct JsonOptions {
  /// U+FF5C, of which DeepSeek's markers are made, only as \uff5c: so that no marker can stand in a string.
  bool escape_bars = false;
};

/// Adds, once for a grammar, the rules of JSON (RFC 8259) that begin with "json-":
///
///   json-value, json-object, json-array, json-string, json-char, json-number, json-integer,
///   json-ws   nothing, a space, or a line break and at most 40 spaces or tabs
///   json-sp   nothing or a space; after ':'
///
/// Numbers are bounded (18 digits, 16 after the point, 2 of the exponent) and blanks too, so that no model
/// can write on for ever but in strings and lists. Surrogates come in pairs.
void AddJsonRules(Grammar& grammar, const JsonOptions& options);

/// The text of `text` as a JSON string, quotes included: escapes only where they must be.
std::string JsonString(std::string_view text, const JsonOptions& options);

/// The text of a value without blanks.
std::string JsonText(simdjson::dom::element value, const JsonOptions& options);

/// The texts of a value, with the blanks of json-ws in objects and lists. Recursion: the value's depth.
ExprId JsonConstant(Grammar& grammar, simdjson::dom::element value, const JsonOptions& options);

/// Texts in JSON strings of one of the characters: escaped where it must be. Control characters without a
/// short escape are left out.
ExprId JsonCharacters(Grammar& grammar, const std::vector<CodeRange>& ranges, const JsonOptions& options);

}  // namespace hadal::grammar
