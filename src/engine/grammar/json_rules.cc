#include "engine/grammar/json_rules.h"

#include "base/check.h"
#include "engine/grammar/gbnf.h"

namespace hadal::grammar {
namespace {

constexpr std::string_view kRules = R"(
json-ws ::= (" " | "\n" [ \t]{0,40})?
json-sp ::= " "?
json-hex ::= [0-9a-fA-F]
json-unicode ::= ([0-9a-ceA-CEfF] json-hex | [dD] [0-7]) json-hex json-hex
  | [dD] [89abAB] json-hex json-hex "\\u" [dD] [c-fC-F] json-hex json-hex
json-char ::= json-plain | "\\" (["\\/bfnrt] | "u" json-unicode)
json-string ::= "\"" json-char* "\""
json-integer ::= "-"? ("0" | [1-9] [0-9]{0,17})
json-number ::= json-integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?
json-value ::= json-object | json-array | json-string | json-number | "true" | "false" | "null"
json-member ::= json-string ":" json-sp json-value
json-object ::= "{" json-ws (json-member ("," json-ws json-member)* json-ws)? "}"
json-array ::= "[" json-ws (json-value ("," json-ws json-value)* json-ws)? "]"
)";
constexpr std::string_view kPlain = R"(json-plain ::= [^"\\\x00-\x1F])";
constexpr std::string_view kPlainWithoutBars = R"(json-plain ::= [^"\\\x00-\x1F\uFF5C])";

constexpr char32_t kBar = 0xFF5C;
constexpr std::string_view kBarBytes = "\xEF\xBD\x9C";

/// The short escape of a byte; 0: none.
char ShortEscape(unsigned char c) {
  switch (c) {
    case '"':
    case '\\':
      return static_cast<char>(c);
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return 0;
  }
}

}  // namespace

void AddJsonRules(Grammar& grammar, const JsonOptions& options) {
  if (grammar.FindRule("json-value")) return;
  const std::string text = std::string(kRules).append(options.escape_bars ? kPlainWithoutBars : kPlain);
  const Status parsed = ParseGbnf(text, grammar);
  HADAL_CHECK(parsed.has_value() || grammar.full(), "{}", parsed.error().message);
}

std::string JsonString(std::string_view text, const JsonOptions& options) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (const char escape = ShortEscape(c)) {
      out += '\\';
      out += escape;
    } else if (c < 0x20) {
      out += fmt::format("\\u{:04x}", c);
    } else if (options.escape_bars && text.substr(i).starts_with(kBarBytes)) {
      out += "\\uff5c";
      i += kBarBytes.size() - 1;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out += '"';
}

std::string JsonText(simdjson::dom::element value, const JsonOptions& options) {
  std::string out;
  switch (value.type()) {
    case simdjson::dom::element_type::STRING:
      return JsonString(value.get_string().value_unsafe(), options);
    case simdjson::dom::element_type::ARRAY:
      for (const auto item : value.get_array().value_unsafe())
        out += (out.empty() ? "[" : ",") + JsonText(item, options);
      return out.empty() ? "[]" : out + "]";
    case simdjson::dom::element_type::OBJECT:
      for (const auto member : value.get_object().value_unsafe())
        out += (out.empty() ? "{" : ",") + JsonString(member.key, options) + ":" +
               JsonText(member.value, options);
      return out.empty() ? "{}" : out + "}";
    case simdjson::dom::element_type::DOUBLE:
      return fmt::format("{}", value.get_double().value_unsafe());
    case simdjson::dom::element_type::INT64:
      return fmt::format("{}", value.get_int64().value_unsafe());
    case simdjson::dom::element_type::UINT64:
      return fmt::format("{}", value.get_uint64().value_unsafe());
    case simdjson::dom::element_type::BOOL:
      return value.get_bool().value_unsafe() ? "true" : "false";
    case simdjson::dom::element_type::NULL_VALUE:
      return "null";
  }
  return out;
}

ExprId JsonConstant(Grammar& grammar, simdjson::dom::element value, const JsonOptions& options) {
  const auto rule = [&](std::string_view name) { return grammar.Ref(grammar.RuleNamed(name)); };
  std::vector<ExprId> parts;
  const auto begin = [&] {
    if (!parts.empty()) parts.push_back(grammar.Literal(","));
    parts.push_back(rule("json-ws"));
  };
  const bool is_list = value.is_array();
  if (is_list) {
    for (const auto item : value.get_array().value_unsafe()) {
      begin();
      parts.push_back(JsonConstant(grammar, item, options));
    }
  } else if (value.is_object()) {
    for (const auto member : value.get_object().value_unsafe()) {
      begin();
      parts.push_back(grammar.Literal(JsonString(member.key, options) + ":"));
      parts.push_back(rule("json-sp"));
      parts.push_back(JsonConstant(grammar, member.value, options));
    }
  } else {
    return grammar.Literal(JsonText(value, options));
  }
  parts.insert(parts.begin(), grammar.Literal(is_list ? "[" : "{"));
  parts.push_back(rule("json-ws"));
  parts.push_back(grammar.Literal(is_list ? "]" : "}"));
  return grammar.Sequence(std::move(parts));
}

ExprId JsonCharacters(Grammar& grammar, const std::vector<CodeRange>& ranges, const JsonOptions& options) {
  std::vector<ExprId> ways;
  std::vector<CodeRange> special = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
  if (options.escape_bars) special.push_back({kBar, kBar});
  // What is in `ranges` and not special: what is not (outside the ranges or special).
  std::vector<CodeRange> others = Complement(Normalized(ranges));
  others.insert(others.end(), special.begin(), special.end());
  std::vector<CodeRange> plain = Complement(Normalized(std::move(others)));
  if (!plain.empty()) ways.push_back(grammar.Class(std::move(plain)));
  std::vector<std::string> escapes;
  for (const CodeRange& range : ranges) {
    for (char32_t c = range.first; c <= range.last && c <= '\\'; ++c) {
      if (const char escape = ShortEscape(static_cast<unsigned char>(c)))
        escapes.push_back(std::string("\\") + escape);
    }
    if (options.escape_bars && range.first <= kBar && kBar <= range.last) escapes.push_back("\\uff5c");
  }
  if (!escapes.empty()) ways.push_back(grammar.Strings(std::move(escapes)));
  return grammar.Choice(std::move(ways));
}

}  // namespace hadal::grammar
