// JSON schemas as grammars: what a model may write, so that it validates.
#pragma once

#include <simdjson.h>

#include <string>

#include "engine/grammar/json_rules.h"

namespace hadal::grammar {

// Of one schema: values of every kind at every level, and bytes of names and texts. What conversion takes in time and
// memory grows with them, for some schemas with their square.
inline constexpr size_t kMaxSchemaValues = 20'000;
inline constexpr size_t kMaxSchemaText = size_t{256} << 10;

/// Every text of the result is a JSON document that is valid under `schema` (JSON Schema 2020-12, and draft 7
/// where that is the same); of the valid documents, some are left out:
///
///   - properties come in the order of the schema, others after them; blanks are those of json-ws
///   - an object whose schema names properties has no others, unless additionalProperties says so
///   - an array whose schema has prefixItems has all of these, unless minItems or maxItems says otherwise,
///     and no more, unless items says so
///   - keywords that are about one type imply that type where there is no `type`
///   - names of additional properties have only short escapes; a name may still come twice
///
/// Taken: type, properties, required, additionalProperties, minProperties and maxProperties (where there are
/// no properties), items, prefixItems, minItems, maxItems, enum, const, anyOf, oneOf (of schemas that no
/// value can satisfy two of, as far as types and constants show), allOf (of one schema, or of objects), $ref
/// within the document, minLength, maxLength, pattern, format, minimum, maximum and their exclusive forms,
/// multipleOf 1 of integers. Annotations are ignored. kUnsupported: anything else, with its JSON pointer.
/// kInvalidArgument: what is no schema, or what nothing satisfies.
///
/// @param schema  nested at most kMaxNesting deep, within kMaxSchemaValues and kMaxSchemaText, else
///                kInvalidArgument; members that stand twice are refused.
/// @param where   the schema's place, for messages and the names of rules: one for each schema of a grammar.
Result<ExprId> SchemaExpression(Grammar& grammar, simdjson::dom::element schema, const std::string& where,
                                const JsonOptions& options);

}  // namespace hadal::grammar
