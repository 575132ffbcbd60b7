// JSON schemas: documents that are valid under each keyword and those that are not, and what is refused.
#include "engine/grammar/json_schema.h"

#include <gmock/gmock.h>

#include "engine/grammar/grammar_test_util.h"

namespace hadal::grammar {
namespace {

using testing::HasSubstr;
using Texts = std::initializer_list<std::string_view>;

void ExpectTexts(std::string_view schema, Texts yes, Texts no, const JsonOptions& options = {}) {
  SCOPED_TRACE(schema);
  const auto program = CompileSchema(schema, options);
  ASSERT_TRUE(program) << program.error().message;
  for (const std::string_view text : yes) EXPECT_EQ(MatchText(*program, text), Match::kYes) << text;
  for (const std::string_view text : no) EXPECT_NE(MatchText(*program, text), Match::kYes) << text;
}

void ExpectRefused(const std::string& schema, const std::string& part) {
  SCOPED_TRACE(schema.substr(0, 200));
  EXPECT_THAT(MessageOf(CompileSchema(schema)), HasSubstr(part));
}

TEST(JsonSchema, AnyValue) {
  const Texts yes = {"{}",
                     "[]",
                     "null",
                     "true",
                     "-0",
                     "12.5e-3",
                     R"("a\u00e9\n\ud83d\ude00é")",
                     "[1, [2,\n  3]]",
                     "{\"a\": {\"b\":[]},\n\t\"c\":1\n}"};
  const Texts no = {
      "",           "{",       "01",          "1.",          ".5",     "+1",    "nul",
      "\"a",        R"("\x")", R"("\ud83d")", R"("\ude00")", "\"\n\"", "[1,]",  "{a:1}",
      "{\"a\" :1}", "[1 ]]",   "[1,  2]",     " 1",          "1 ",     "1e999", "\"\xED\xA0\x80\""};
  ExpectTexts("{}", yes, no);
  ExpectTexts("true", yes, no);
  ExpectTexts(R"({"title": "t", "description": "d", "default": 1, "x-y": 2})", yes, no);
}

TEST(JsonSchema, Objects) {
  ExpectTexts(
      R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "required": ["a"]})",
      {R"({"a":1})", R"({"a":1,"b":null})", "{\n  \"a\": 1,\n  \"b\": null\n}"},
      {"{}", R"({"b":null})", R"({"b":null,"a":1})", R"({"a":1,"c":2})", R"({"a":"1"})", R"({"a":1,})"});
  ExpectTexts(R"({"properties": {"a": {}, "b": {}, "c": {}}})",
              {"{}", R"({"b":1})", R"({"a":1,"c":1})", R"({"c":1})", R"({"a":1,"b":2,"c":3})"},
              {R"({,"a":1})", R"({"c":1,"a":1})", "[]"});
  ExpectTexts(R"({"type": "object", "additionalProperties": {"type": "boolean"}})",
              {"{}", R"({"x":true,"y":false})"}, {R"({"x":1})"});
  ExpectTexts(R"({"type": "object", "additionalProperties": false})", {"{}"}, {R"({"x":1})"});
  ExpectTexts(R"({"type": "object", "minProperties": 1, "maxProperties": 2})",
              {R"({"a":1})", R"({"a":1,"b":2})"}, {"{}", R"({"a":1,"b":2,"c":3})"});
  ExpectTexts(R"({"properties": {"a": false, "b": {}}})", {R"({"b":1})"}, {R"({"a":1})"});
  ExpectTexts(R"({"type": "object", "required": ["z"]})", {R"({"z":[1]})", R"({"z":1,"y":2})"},
              {"{}", R"({"y":2})"});
}

TEST(JsonSchema, OtherPropertiesHaveOtherNames) {
  ExpectTexts(
      R"({"properties": {"ab": {"type": "integer"}, "a": {"type": "integer"}, "é\"": {"type": "integer"}},
                  "additionalProperties": {"type": "string"}})",
      {R"({"ab":1,"x":"y"})", R"({"abc":"y"})", R"({"b":"y","":"z"})", R"({"é":"y"})", R"({"é\"":1})",
       R"({"é\"x":"y"})", R"({"x\ny":"z"})"},
      {R"({"ab":"y"})", R"({"a":"y"})", R"({"é\"":"y"})", R"({"\u0061":"y"})", R"({"x":1})"});
}

TEST(JsonSchema, Arrays) {
  ExpectTexts(R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
              {"[1]", "[1,2,3]", "[\n  1,\n  2\n]"}, {"[]", "[1,2,3,4]", "[\"a\"]"});
  ExpectTexts(R"({"prefixItems": [{"type": "integer"}, {"type": "string"}]})", {R"([1,"a"])"},
              {"[]", "[1]", R"([1,"a",2])", R"(["a",1])"});
  ExpectTexts(
      R"({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "null"}, "minItems": 1})",
      {"[1]", R"([1,"a"])", R"([1,"a",null,null])"}, {"[]", R"([1,null])"});
  ExpectTexts(R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"});
  ExpectTexts(R"({"type": "array", "items": false})", {"[]"}, {"[1]"});
}

TEST(JsonSchema, ConstantsTypesAndAlternatives) {
  ExpectTexts(R"({"enum": ["red", "redder", 1, null, {"a": [1, "é"]}, "q\"\n"]})",
              {"\"red\"", "\"redder\"", "1", "null", R"({"a":[1,"é"]})", R"("q\"\n")"},
              {"\"r\"", "\"redde\"", "2"});
  ExpectTexts(R"({"const": "a", "type": "string"})", {"\"a\""}, {"\"b\""});
  ExpectTexts(R"({"type": "integer", "enum": [1, "a", 2.0, 2.5]})", {"1", "2"}, {"\"a\"", "2.5"});
  ExpectTexts(R"({"type": ["string", "null"], "maxLength": 2})", {"null", "\"ab\""}, {"\"abc\"", "1"});
  ExpectTexts(R"({"anyOf": [{"type": "integer"}, {"type": "null"}]})", {"1", "null"}, {"true"});
  ExpectTexts(
      R"({"oneOf": [{"type": "object", "required": ["t"], "properties": {"t": {"const": "a"}, "x": {"type": "integer"}}},
                            {"type": "object", "required": ["t"], "properties": {"t": {"const": "b"}}}, {"type": "null"}]})",
      {R"({"t":"a","x":1})", R"({"t":"b"})", "null"}, {R"({"t":"b","x":1})"});
  ExpectTexts(
      R"({"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"type": "null"}}}], "required": ["b"],
                  "$defs": {"base": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}})",
      {R"({"a":1,"b":null})"}, {R"({"a":1})", R"({"b":null})"});
}

TEST(JsonSchema, References) {
  ExpectTexts(
      R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["v"], "additionalProperties": false,
                  "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}}}})",
      {R"({"v":1})", R"({"v":1,"next":{"v":2,"next":{"v":3}}})"}, {R"({"v":1,"next":{}})"});
  ExpectTexts(R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]"});
  ExpectTexts(R"({"properties": {"a/b": {"type": "null"}, "c": {"$ref": "#/properties/a~1b"}}})",
              {R"({"c":null})"}, {R"({"c":1})"});
}

TEST(JsonSchema, StringsPatternsAndFormats) {
  ExpectTexts(R"({"type": "string", "minLength": 2, "maxLength": 3})",
              {"\"ab\"", "\"é😀字\"", R"("\n\u00e9\ud83d\ude00")"}, {"\"a\"", "\"abcd\"", R"("\n")"});
  ExpectTexts(R"({"pattern": "^[a-c]{2}\\d+(x|yz)?$"})", {"\"ab1\"", "\"cc12yz\""},
              {"\"a1\"", "\"ab\"", "\"ab1z\"", "\"xab1\""});
  ExpectTexts(R"({"pattern": "b+"})", {"\"b\"", "\"abbc\"", R"("\u0062b")"}, {"\"ac\"", "\"\""});
  ExpectTexts(R"({"pattern": "^a|b$"})", {"\"ax\"", "\"xb\""}, {"\"xa\"", "\"bx\""});
  ExpectTexts(R"({"pattern": "^[^a-z]$"})", {"\"A\"", "\"é\"", R"("\"")", R"("\\")", R"("\n")"},
              {"\"a\"", "\"\"\""});
  ExpectTexts(R"({"pattern": "^\\w\\s\\S.$"})", {"\"a b!\"", R"("_\t\"\\")"}, {"\"a bb\\n\"", "\"- bb\""});
  ExpectTexts(R"({"format": "date"})", {"\"2024-02-29\"", "\"2000-02-29\"", "\"2023-12-31\""},
              {"\"2023-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"2023-13-01\"", "\"2023-1-1\""});
  ExpectTexts(R"({"format": "date-time"})", {"\"2024-02-29T23:59:59Z\"", "\"2024-01-01T00:00:00.5+01:30\""},
              {"\"2024-01-01 00:00:00Z\"", "\"2024-01-01T24:00:00Z\""});
  ExpectTexts(R"({"format": "time"})", {"\"12:30:00Z\""}, {"\"12:30\"", "\"12:60:00Z\""});
  ExpectTexts(R"({"format": "duration"})", {"\"P1D\"", "\"PT5M\"", "\"P1Y2M3DT4H5M6S\"", "\"P2W\""},
              {"\"P\"", "\"PT\"", "\"1D\""});
  ExpectTexts(R"({"format": "uuid"})", {"\"123e4567-e89b-12d3-a456-426614174000\""},
              {"\"123e4567e89b12d3a456426614174000\""});
  ExpectTexts(R"({"format": "email"})", {"\"a.b+c@d-e.org\""}, {"\"a@b\"", "\"a.b.org\""});
  ExpectTexts(R"({"format": "ipv4"})", {"\"255.0.10.199\""}, {"\"256.0.0.1\"", "\"1.2.3\""});
  ExpectTexts(R"({"format": "ipv6"})", {"\"::1\"", "\"1:2:3:4:5:6:7:8\"", "\"fe80::1:2\""},
              {"\"1:2\"", "\":::\""});
  ExpectTexts(R"({"format": "uri"})", {"\"https://a.org/b?c=d#e\"", "\"http://localhost:80\""},
              {"\"a b\"", "\"//a\""});
}

TEST(JsonSchema, MarkersCannotStandInStringsOfTools) {
  ExpectTexts(R"({"type": "string"})", {"\"｜\"", R"("\uff5c")"}, {});
  ExpectTexts(R"({"type": "string"})", {R"("\uff5c")", "\"<|>\""}, {"\"｜\""}, {.escape_bars = true});
  ExpectTexts(R"({"enum": ["｜"]})", {R"("\uff5c")"}, {"\"｜\""}, {.escape_bars = true});
  ExpectTexts(R"({"pattern": "^.$"})", {R"("\uff5c")"}, {"\"｜\""}, {.escape_bars = true});
}

/// Compares the texts of whole and decimal numbers around the bounds with the arithmetic.
void ExpectNumbers(const std::string& keywords, bool integers, const std::function<bool(double)>& valid) {
  const auto program =
      CompileSchema(fmt::format(R"({{"type": "{}", {}}})", integers ? "integer" : "number", keywords));
  if (!program && integers) {
    EXPECT_THAT(program.error().message, HasSubstr("no integer lies between"));
    for (int i = -3000; i <= 3000; ++i) EXPECT_FALSE(valid(i)) << keywords << " " << i;
    return;
  }
  ASSERT_TRUE(program) << program.error().message;
  for (int i = -3000; i <= 3000; ++i) {
    if (i == 0) continue;  // zero may have a sign where it is negative
    const std::string text = integers ? fmt::format("{}", i) : fmt::format("{:.2f}", i / 100.0);
    EXPECT_EQ(MatchText(*program, text) == Match::kYes, valid(std::stod(text))) << keywords << " " << text;
    if (integers || i % 10 != 0) continue;
    const std::string shorter = fmt::format("{}", i / 100.0);
    EXPECT_EQ(MatchText(*program, shorter) == Match::kYes, valid(i / 100.0)) << keywords << " " << shorter;
  }
}

TEST(JsonSchema, NumbersBetweenBounds) {
  const double kBounds[] = {-1999, -120, -20.25, -7.5, -1, -0.05, 0, 0.5, 1, 3, 9.99, 10, 29.7, 199, 1000};
  for (const bool integers : {true, false}) {
    for (const double bound : kBounds) {
      ExpectNumbers(fmt::format(R"("minimum": {})", bound), integers, [&](double x) { return x >= bound; });
      ExpectNumbers(fmt::format(R"("exclusiveMaximum": {})", bound), integers,
                    [&](double x) { return x < bound; });
    }
    for (const double low : {-20.25, -1.0, 0.0, 0.5, 3.0}) {
      for (const double high : {3.5, 10.0, 29.7}) {
        ExpectNumbers(fmt::format(R"("exclusiveMinimum": {}, "maximum": {})", low, high), integers,
                      [&](double x) { return x > low && x <= high; });
      }
    }
  }
  ExpectNumbers(R"("minimum": 1.25, "maximum": 1.75)", false,
                [](double x) { return x >= 1.25 && x <= 1.75; });
  ExpectTexts(R"({"type": "integer", "multipleOf": 1})", {"0", "-5", "999999999999999999"},
              {"1.0", "1e3", "1000000000000000000"});
  ExpectTexts(R"({"type": "number", "minimum": 0, "maximum": 0})", {"0", "0.0"}, {"0.1", "1"});
}

TEST(JsonSchema, RefusesWithKeywordAndPointer) {
  for (const std::string keyword :
       {"not", "if", "then", "else", "patternProperties", "propertyNames", "contains", "minContains",
        "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
        "additionalItems", "$dynamicRef", "$anchor", "nullable", "unknown"}) {
    ExpectRefused(R"({"properties": {"a/b": {"items": {")" + keyword + R"(": {}}}}})",
                  "unsupported: the schema's keyword '" + keyword + "' at /properties/a~1b/items/" + keyword);
  }
  ExpectRefused(R"({"type": "array", "uniqueItems": true})", "'uniqueItems' at /uniqueItems");
  ExpectRefused(R"({"type": "number", "multipleOf": 0.5})", "'multipleOf' at /multipleOf");
  ExpectRefused(R"({"format": "color"})", "'format' 'color' at /format");
  ExpectRefused(R"({"pattern": "a", "minLength": 2})",
                "'minLength' at /minLength is not supported beside 'pattern'");
  ExpectRefused(R"({"anyOf": [{}], "properties": {}})",
                "'properties' at /properties is not supported beside 'anyOf'");
  ExpectRefused(R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})", "'oneOf' at /oneOf");
  ExpectRefused(R"({"oneOf": [{"properties": {"a": {}}}, {"type": "string"}]})", "'oneOf' at /oneOf");
  ExpectRefused(R"({"allOf": [{"type": "string"}, {"minLength": 2}]})", "'allOf'");
  ExpectRefused(R"({"properties": {"a": {}}, "minProperties": 1})", "'minProperties'");
  ExpectRefused(R"({"properties": {"a": {}}, "maxProperties": 0})", "'maxProperties'");
  ExpectRefused(R"({"items": [{}]})", "use prefixItems");
  for (const std::string pattern :
       {"\\\\bx", "(?=a)", "(?<n>a)", "(a)\\\\1", "a^b", "\\\\p{L}", "[\\\\u0001]"})
    ExpectRefused(R"({"pattern": ")" + pattern + "\"}", "unsupported: the schema's 'pattern' at /pattern");
  for (const std::string pattern : {"foo**", "(", ")", "[a", "*a", "a{2", "a{3,2}", "[z-a]", "\\\\"})
    ExpectRefused(R"({"pattern": ")" + pattern + "\"}",
                  "invalid_argument: the schema's 'pattern' at /pattern");
}

TEST(JsonSchema, RefusesWhatIsNoSchemaOrIsNeverSatisfied) {
  ExpectRefused("[]", "must be an object");
  ExpectRefused("false", "nothing satisfies");
  ExpectRefused(R"({"type": "thing"})", "is 'thing', which is no type");
  ExpectRefused(R"({"type": []})", "/type is empty");
  ExpectRefused(R"({"type": 5})", "must be a string or strings");
  ExpectRefused(R"({"type": "string", "type": "null"})", "has the member 'type' twice");
  ExpectRefused(R"({"properties": {"a": {}, "a": {}}})", "has the member 'a' twice");
  ExpectRefused(R"({"properties": []})", "/properties must be an object");
  ExpectRefused(R"({"required": "a"})", "/required must be an array of strings");
  ExpectRefused(R"({"minLength": -1})", "/minLength must be a whole number");
  ExpectRefused(R"({"minLength": 1.5})", "/minLength must be a whole number");
  ExpectRefused(R"({"minLength": 3, "maxLength": 2})", "below its minLength");
  ExpectRefused(R"({"type": "integer", "minimum": 1.2, "maximum": 1.8})", "no integer lies between");
  ExpectRefused(R"({"type": "number", "minimum": 2, "maximum": 1})", "no number lies between");
  ExpectRefused(R"({"type": "integer", "minimum": 1e300})", "beyond 2^53");
  ExpectRefused(R"({"type": "array", "minItems": 2, "maxItems": 1})", "minItems is above its maxItems");
  ExpectRefused(R"({"enum": []})", "leaves no value");
  ExpectRefused(R"({"type": "string", "enum": [1]})", "leaves no value");
  ExpectRefused(R"({"required": ["a"], "additionalProperties": false, "type": "object"})",
                "requires the property 'a' and forbids it");
  ExpectRefused(R"({"$ref": "#/$defs/none"})", "which is not there");
  ExpectRefused(R"({"$ref": "#"})", "is left-recursive");
  ExpectRefused(
      R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}, {}]}}})",
      "is left-recursive");
  ExpectRefused(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})",
                "matches nothing");
}

TEST(JsonSchema, BombsEndInAnError) {
  // Each definition refers twice to the next: 2^40 ways, 40 rules.
  std::string chain = R"({"$ref": "#/$defs/d0", "$defs": {"d40": {"type": "null"})";
  for (int i = 0; i < 40; ++i)
    chain +=
        fmt::format(R"(, "d{}": {{"prefixItems": [{{"$ref": "#/$defs/d{}"}}, {{"$ref": "#/$defs/d{}"}}]}})",
                    i, i + 1, i + 1);
  const auto program = CompileSchema(chain + "}}");
  ASSERT_TRUE(program) << program.error().message;
  EXPECT_LT((*program)->node_count(), 2000u);
  ExpectRefused(
      R"({"items": {"items": {"items": {"type": "null"}, "minItems": 9999}, "minItems": 9999}, "minItems": 9999})",
      "the grammar is too large");
  std::string many = R"({"properties": {"a0": {})";
  for (int i = 1; i < 3000; ++i) many += fmt::format(R"(, "a{}": {{}})", i);
  const auto wide = CompileSchema(many + "}}");
  ASSERT_TRUE(wide) << wide.error().message;
  EXPECT_EQ(MatchText(*wide, R"({"a5":1,"a2999":2})"), Match::kYes);
  std::string prefix = R"({"prefixItems": [{})";
  for (int i = 1; i < 19'990; ++i) prefix += ",{}";
  const auto deep = CompileSchema(prefix + "]}");
  EXPECT_THAT(MessageOf(deep), testing::AnyOf("no error", HasSubstr("the grammar"))) << "no deep recursion";
}

}  // namespace
}  // namespace hadal::grammar
