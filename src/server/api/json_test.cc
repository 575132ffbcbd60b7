// The JSON that goes in and comes out.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "server/api/json_fields.h"
#include "server/api/json_writer.h"

namespace hadal::api {
namespace {

TEST(JsonWriter, WritesWhatParsersRead) {
  JsonWriter json;
  json.BeginObject().Key("a\"").BeginArray().Int(-5).Number(0.1).Number(1e300).Bool(true).Null().EndArray();
  json.Key("b")
      .BeginObject()
      .EndObject()
      .Key("c")
      .BeginArray()
      .BeginArray()
      .EndArray()
      .BeginArray()
      .EndArray()
      .EndArray();
  json.Key("d").Number(std::nan("")).Key("e").Number(-INFINITY).EndObject();
  EXPECT_EQ(json.Take(), R"({"a\"":[-5,0.1,1e+300,true,null],"b":{},"c":[[],[]],"d":null,"e":null})");
}

TEST(JsonWriter, EveryByteIsValidUtf8AndReadsBack) {
  std::string all;
  for (int c = 0; c < 0x80; ++c) all += static_cast<char>(c);
  all += "é｜🙂";
  JsonWriter json;
  json.String(all);
  EXPECT_EQ(nlohmann::json::parse(json.Take()).get<std::string>(), all);
  for (const char* broken : {"\xFF", "a\xC3", "\xED\xA0\x80", "\xF0\x9F\x99"}) {
    JsonWriter repaired;
    repaired.String(broken);
    EXPECT_NE(nlohmann::json::parse(repaired.Take()).get<std::string>().find("\uFFFD"), std::string::npos);
  }
}

TEST(JsonFields, TypesAndRanges) {
  const JsonBody body =
      JsonBody::Parse(R"({"i": 5, "d": 1.5, "s": "x", "b": true, "z": null, "a": [1, 2]})").value();
  const Fields fields = Fields::Of(body.root(), "at").value();
  int64_t i = 0;
  double d = 0;
  std::string s;
  bool b = false;
  EXPECT_TRUE(fields.Take("i", i) && fields.Take("d", d) && fields.Take("s", s) && fields.Take("b", b));
  EXPECT_EQ(i, 5);
  EXPECT_EQ(d, 1.5);
  EXPECT_EQ(s, "x");
  EXPECT_TRUE(b);
  EXPECT_TRUE(fields.Take("i", d)) << "an integer is a number";
  EXPECT_EQ(d, 5);
  EXPECT_TRUE(fields.Take("z", i) && fields.Take("absent", i));
  EXPECT_EQ(i, 5);
  EXPECT_EQ(fields.Take("d", i).error().message,
            "'at.d' must be an integer and is a number with a fraction or exponent");
  EXPECT_EQ(fields.Take("i", i, 6, 9).error().message, "'at.i' is 5, expected 6 to 9");
  EXPECT_EQ(fields.Take("s", b).error().param, "at.s");
  std::vector<int64_t> integers;
  EXPECT_FALSE(fields.TakeIntegers("a", integers, 0, 9, 1));
  integers.clear();
  EXPECT_TRUE(fields.TakeIntegers("a", integers, 0, 9, 2));
  EXPECT_EQ(integers, (std::vector<int64_t>{1, 2}));
}

TEST(JsonFields, DepthIsBounded) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(JsonBody::Parse(nested(kMaxJsonDepth - 1)));
  EXPECT_FALSE(JsonBody::Parse(nested(kMaxJsonDepth + 1)));
  EXPECT_FALSE(JsonBody::Parse(std::string(1 << 20, '[')));
}

}  // namespace
}  // namespace hadal::api
