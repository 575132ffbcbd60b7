// JSON in and out, numbers as text, time, and the order of keys.
#include <gtest/gtest.h>

#include "text/jinja/globals.h"
#include "text/jinja/text_form.h"

namespace hadal::jinja {
namespace {

std::string RoundTrip(std::string_view json) {
  Runtime runtime({}, [] { return std::time_t{0}; });
  auto value = ParseJson(json);
  if (!value) return "error: " + value.error().message;
  return ToJson(runtime, *value, {.indent = {}}).value_or("error");
}

TEST(JinjaValues, JsonKeepsOrderAndIntegers) {
  EXPECT_EQ(RoundTrip(R"({"z":1,"a":{"y":[1,2.0,-0.5,1e22],"b":null},"m":true})"),
            R"({"z": 1, "a": {"y": [1, 2.0, -0.5, 1e+22], "b": null}, "m": true})");
  EXPECT_EQ(RoundTrip(R"({"a":1,"b":2,"a":3})"), R"({"a": 3, "b": 2})");
  EXPECT_EQ(RoundTrip("9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(RoundTrip("\"\\u00e9\\ud83d\\ude00 \\\" \\\\ \\n\""), "\"é😀 \\\" \\\\ \\n\"");
}

TEST(JinjaValues, BadJsonIsAnError) {
  for (const char* json : {"", "{", "{\"a\":}", "[1,]", "\"\\ud800\"", "\"\xff\"", "nul", "1 2"})
    EXPECT_EQ(ParseJson(json).error().code, Code::kInvalidArgument) << json;
  EXPECT_EQ(ParseJson("18446744073709551615").error().code, Code::kUnsupported);
}

TEST(JinjaValues, FloatsPrintAsPythons) {
  for (const auto& [value, text] :
       std::vector<std::pair<double, const char*>>{{0, "0.0"},
                                                   {-0.0, "-0.0"},
                                                   {1, "1.0"},
                                                   {0.1, "0.1"},
                                                   {1e15, "1000000000000000.0"},
                                                   {1e16, "1e+16"},
                                                   {1e-4, "0.0001"},
                                                   {1e-5, "1e-05"},
                                                   {1.5e300, "1.5e+300"},
                                                   {123456.789, "123456.789"},
                                                   {5e-324, "5e-324"},
                                                   {0.1 + 0.2, "0.30000000000000004"}})
    EXPECT_EQ(FloatText(value), text);
}

TEST(JinjaValues, NumbersThatAreEqualAreOneKey) {
  Dict dict;
  dict.Set(Value::Int(1), Value::String("int"));
  dict.Set(Value::Bool(true), Value::String("bool"));
  dict.Set(Value::String("1"), Value::String("str"));
  ASSERT_EQ(dict.size(), 2u);
  EXPECT_EQ(dict.Find(Value::Float(1.0))->as_string(), "bool");
  EXPECT_EQ(dict.entries()[0].key.kind(), Kind::kInt);  // the first key stays
  EXPECT_EQ(dict.Find(Value::None()), nullptr);
}

TEST(JinjaValues, TimeFollowsTheFormat) {
  std::tm date{};
  date.tm_year = 125, date.tm_mon = 6, date.tm_mday = 4, date.tm_hour = 9, date.tm_isdst = -1;
  const std::time_t now = std::mktime(&date);
  EXPECT_EQ(FormatTime(now, "%d %b %Y, %H:%M").value_or(""), "04 Jul 2025, 09:00");
  EXPECT_EQ(FormatTime(now, "").value_or("x"), "");
  EXPECT_EQ(FormatTime(now, "%z%Z%%|%").value_or("x"), "%|%");
  EXPECT_EQ(FormatTime(now, std::string(2000, 'x')).error().code, Code::kResourceExhausted);
}

}  // namespace
}  // namespace hadal::jinja
