#include "engine/grammar/json_formats.h"

#include "base/check.h"
#include "engine/grammar/gbnf.h"

namespace hadal::grammar {
namespace {

struct Format {
  std::string_view name;
  std::string_view rules;  // GBNF; its first rule is "format-" and the name
  std::string_view needs = {};
};

constexpr Format kFormats[] = {
    // Leap years are those divisible by 4, and by 400 where they are by 100.
    {"date", R"(
format-date ::= [0-9]{4} "-" (format-m31 "-" format-d31 | format-m30 "-" format-d30 | "02-" format-d28)
  | format-leap "-02-29"
format-leap ::= [0-9]{2} ([2468] [048] | "0" [48] | [13579] [26]) | ([02468] [048] | [13579] [26]) "00"
format-m31 ::= "0" [13578] | "1" [02]
format-m30 ::= "0" [469] | "11"
format-d28 ::= "0" [1-9] | "1" [0-9] | "2" [0-8]
format-d30 ::= "0" [1-9] | [12] [0-9] | "30"
format-d31 ::= "0" [1-9] | [12] [0-9] | "3" [01]
)"},
    {"time", R"(
format-time ::= format-hour ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})? ("Z" | [+-] format-hour ":" [0-5] [0-9])
format-hour ::= [01] [0-9] | "2" [0-3]
)"},
    {"date-time", R"(
format-date-time ::= format-date "T" format-time
)",
     "date time"},
    {"duration", R"(
format-duration ::= "P" (format-days format-clock? | format-clock | format-count "W")
format-days ::= format-count "Y" (format-count "M")? (format-count "D")? | format-count "M" (format-count "D")? | format-count "D"
format-clock ::= "T" (format-count "H" (format-count "M")? (format-count "S")? | format-count "M" (format-count "S")? | format-count "S")
format-count ::= [0-9]{1,9}
)"},
    {"uuid", R"(
format-uuid ::= format-hex{8} "-" format-hex{4} "-" format-hex{4} "-" format-hex{4} "-" format-hex{12}
format-hex ::= [0-9a-fA-F]
)"},
    {"hostname", R"(
format-hostname ::= format-label ("." format-label){0,7}
format-label ::= [a-zA-Z0-9] ([a-zA-Z0-9-]{0,22} [a-zA-Z0-9])?
)"},
    {"email", R"(
format-email ::= format-atom ("." format-atom){0,3} "@" format-label ("." format-label){1,7}
format-atom ::= [a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,16}
)",
     "hostname"},
    {"ipv4", R"(
format-ipv4 ::= format-octet ("." format-octet){3}
format-octet ::= [0-9] | [1-9] [0-9] | "1" [0-9] [0-9] | "2" [0-4] [0-9] | "25" [0-5]
)"},
    {"ipv6", R"(
format-ipv6 ::= format-group (":" format-group){7} | format-group (":" format-group){0,2} "::" format-group (":" format-group){0,2} | "::" format-group (":" format-group){0,3} | format-group (":" format-group){0,3} "::" | "::"
format-group ::= [0-9a-fA-F]{1,4}
)"},
    {"uri", R"(
format-uri ::= [a-zA-Z] [a-zA-Z0-9+.-]{0,15} ":" ("//" format-hostname (":" [0-9]{1,5})?)? ("/" format-path*)? ("?" format-path*)? ("#" format-path*)?
format-path ::= [a-zA-Z0-9._~!$&'()*+,;=:@/-] | "%" [0-9a-fA-F]{2}
)",
     "hostname"},
};

}  // namespace

std::optional<ExprId> FormatContents(Grammar& grammar, std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name != format) continue;
    const std::string rule = "format-" + std::string(format);
    if (!grammar.FindRule(rule)) {
      for (std::string_view needs = known.needs; !needs.empty();) {
        const size_t end = std::min(needs.find(' '), needs.size());
        FormatContents(grammar, needs.substr(0, end));
        needs.remove_prefix(std::min(end + 1, needs.size()));
      }
      const Status parsed = ParseGbnf(known.rules, grammar);
      HADAL_CHECK(parsed.has_value() || grammar.full(), "{}", parsed.error().message);
    }
    return grammar.Ref(grammar.RuleNamed(rule));
  }
  return std::nullopt;
}

}  // namespace hadal::grammar
