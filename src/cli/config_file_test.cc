#include "cli/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal {
namespace {

using testing::HasSubstr;
using Kind = ConfigValue::Kind;

ConfigValue Parse(std::string_view text) {
  auto value = ParseConfigFile(text, "f.yaml");
  EXPECT_TRUE(value) << value.error().message;
  return value ? *value : ConfigValue{};
}

/// The sentence with which `text` is refused.
std::string Refused(std::string_view text) {
  const auto value = ParseConfigFile(text, "f.yaml");
  EXPECT_FALSE(value) << text;
  return value ? "" : value.error().message;
}

TEST(ConfigFile, KeepsKindsAndLines) {
  const ConfigValue root =
      Parse("model: /a b\nengine:\n  # a comment\n  threads: 4\n  name: '4'\nlist: [x, \"y\"]\n");
  ASSERT_EQ(root.items.size(), 3u);
  EXPECT_EQ(root.items[0].text, "/a b");
  const ConfigValue& engine = root.items[1];
  ASSERT_EQ(engine.kind, Kind::kMap);
  EXPECT_EQ(engine.items[0].key, "threads");
  EXPECT_EQ(engine.items[0].line, 4);
  EXPECT_EQ(engine.items[0].kind, Kind::kPlain);
  EXPECT_EQ(engine.items[1].kind, Kind::kQuoted);
  ASSERT_EQ(root.items[2].kind, Kind::kList);
  EXPECT_EQ(root.items[2].items[1].text, "y");
}

TEST(ConfigFile, TextsInQuotesAndBlocks) {
  EXPECT_EQ(Parse("\xEF\xBB\xBF"
                  "a: 'it''s'\r\nb: \"q\\\"\\u00e9\" # c\r\n")
                .items[0]
                .text,
            "it's");
  EXPECT_EQ(Parse("a: 'it''s'\nb: \"q\\\"\\u00e9\" # c\n").items[1].text, "q\"\u00e9");
  EXPECT_EQ(Parse("a: ''\nb: ''''\nc: 'x'''\n").items[2].text, "x'");
  EXPECT_EQ(Parse("a: |\n  x\n  y\nb: 1\n").items[0].text, "x\ny\n");
  EXPECT_EQ(Parse("s: {\u00e9: 'x', b: 'y'}\n").items[0].items[1].text, "y");
}

TEST(ConfigFile, ListsOfMaps) {
  const ConfigValue root =
      Parse("access:\n  issuers:\n    - issuer: https://a\n      audience: b\n    - issuer: c\n");
  const ConfigValue& issuers = root.items[0].items[0];
  ASSERT_EQ(issuers.items.size(), 2u);
  EXPECT_EQ(issuers.items[0].items[1].key, "audience");
  EXPECT_EQ(issuers.items[1].items[0].text, "c");
}

TEST(ConfigFile, NothingIsAnEmptyMap) {
  for (const char* text : {"", "# only a comment\n", "---\n", "{}\n", "~\n"}) {
    const ConfigValue root = Parse(text);
    EXPECT_EQ(root.kind, Kind::kMap) << text;
    EXPECT_TRUE(root.items.empty()) << text;
  }
  EXPECT_EQ(Parse("engine:\n").items[0].kind, Kind::kNothing);
}

TEST(ConfigFile, WhatMayMeanTwoThingsIsRefused) {
  EXPECT_THAT(Refused("a: 1\nb: 2\na: 3\n"),
              HasSubstr("f.yaml:3: 'a' stands here again; it is set in line 1"));
  EXPECT_THAT(Refused("a: &x 1\n"), HasSubstr("anchors"));
  EXPECT_THAT(Refused("a: *x\n"), HasSubstr("f.yaml:1: "));
  EXPECT_THAT(Refused("a: !!int 1\n"), HasSubstr("tags"));
  EXPECT_THAT(Refused("a: !x {b: c}\n"), HasSubstr("tags"));
  EXPECT_THAT(Refused("a: 1\n---\nb: 1\n"), HasSubstr("second document"));
  EXPECT_THAT(Refused("- a\n"), HasSubstr("key: value"));
  EXPECT_THAT(Refused("text\n"), HasSubstr("key: value"));
  EXPECT_THAT(Refused("[a, b]: c\n"), HasSubstr("a key must be a word"));
  EXPECT_THAT(Refused("~: c\n"), HasSubstr("a key must be a word"));
  EXPECT_THAT(Refused("a: 1\n b: 2\n"), HasSubstr("f.yaml:2"));
  // A forgotten quote must not swallow the lines behind it.
  for (const char* text :
       {"a: \"x\n", "a: \"x\nb: 1\n", "a: 'x\nb: 'y'\n", "a: \"x\\\"\nb: 1\n", "a: \"x\n  y\"\n",
        "a: 'it''s\nb: 1\n", "a: 'it''s\nb: 'y'\n", "a: 'x''\nb: 1\n"})
    EXPECT_THAT(Refused(text), HasSubstr("f.yaml:1: ")) << text;
  EXPECT_THAT(Refused("a: x\rb: y\n"), HasSubstr("control character"));
  EXPECT_THAT(Refused("a: \x01\n"), HasSubstr("control character"));
  EXPECT_THAT(Refused("b: 1\na: \xff\n"), HasSubstr("f.yaml:2: the text is not UTF-8"));
  EXPECT_THAT(Refused("a: \"\\0\"\n"), HasSubstr("zero byte"));
}

TEST(ConfigFile, LimitsHold) {
  EXPECT_THAT(Refused("a: {b: [{c: {d: e}}]}\n"), HasSubstr("nested deeper than 4"));
  EXPECT_THAT(Refused("a: " + std::string(100000, '[')), HasSubstr("f.yaml:1"));
  EXPECT_THAT(Refused(std::string(kMaxConfigFileBytes + 1, '#')), HasSubstr("at most"));
  std::string many = "a:\n";
  for (size_t i = 0; i <= kMaxConfigValues; ++i) many += "- x\n";
  EXPECT_THAT(Refused(many), HasSubstr("more than 4096 values"));
}

}  // namespace
}  // namespace hadal
