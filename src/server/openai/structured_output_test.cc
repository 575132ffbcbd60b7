// Forms of answers that are calls of tools, and where thinking comes first: which texts the constraint takes.
#include "server/api/structured_output.h"

#include "server/openai/openai_test_util.h"

namespace hadal::openai {
namespace {

constexpr std::string_view kTools =
    R"(, "tools": [{"type": "function", "function": {"name": "add", "strict": true, "parameters": {
       "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}}},
       {"type": "function", "function": {"name": "now"}}])";

/// Whether a chat with `more` may be answered with `text` as a whole, its markers as tokens.
testing::AssertionResult Takes(const std::string& template_name, const std::string& more,
                               const std::string& text) {
  Api api(template_name);
  const auto writer = api.Chat(Hello(more));
  if (api.backend.requests.size() != 1) return testing::AssertionFailure() << writer->body;
  return TakesWhole(api, text);
}

std::string Tools(const std::string& more = {}) { return std::string(kTools) + more; }
std::string V31(const std::string& calls) {
  return "<｜tool▁calls▁begin｜>" + calls + "<｜tool▁calls▁end｜>";
}
const std::string kAdd = "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜>";
const std::string kNow = "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{\"zone\": [\"x\"]}<｜tool▁call▁end｜>";

TEST(StructuredOutput, StrictToolsBindCallsAndLeaveTextFree) {
  EXPECT_TRUE(Takes("deepseek-v3.1", Tools(), "Any text < at all ｜ {\"a\": 1}"));
  EXPECT_TRUE(Takes("deepseek-v3.1", Tools(), "Let me see.\n" + V31(kAdd + kNow)));
  EXPECT_FALSE(Takes("deepseek-v3.1", Tools(),
                     V31("<｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"b\": 1}<｜tool▁call▁end｜>")));
  EXPECT_FALSE(
      Takes("deepseek-v3.1", Tools(), V31("<｜tool▁call▁begin｜>sub<｜tool▁sep｜>{}<｜tool▁call▁end｜>")));
  EXPECT_FALSE(Takes("deepseek-v3.1", Tools(), V31(kAdd) + "and more"));
  EXPECT_TRUE(Takes("deepseek-v3.1", Tools(R"(, "parallel_tool_calls": false)"), V31(kAdd)));
  EXPECT_FALSE(Takes("deepseek-v3.1", Tools(R"(, "parallel_tool_calls": false)"), V31(kAdd + kNow)));
}

TEST(StructuredOutput, ForcedCalls) {
  const std::string required = Tools(R"(, "tool_choice": "required")");
  EXPECT_TRUE(Takes("deepseek-v3.1", required, V31(kNow + kAdd)));
  EXPECT_FALSE(Takes("deepseek-v3.1", required, "No."));
  const std::string named = Tools(R"(, "tool_choice": {"type": "function", "function": {"name": "add"}})");
  EXPECT_TRUE(Takes("deepseek-v3.1", named, V31(kAdd)));
  EXPECT_FALSE(Takes("deepseek-v3.1", named, V31(kNow)));
  EXPECT_FALSE(Takes("deepseek-v3.1", named, V31(kAdd + kAdd)));
  const auto v3 = [](const std::string& name) {
    return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name +
           "\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>";
  };
  EXPECT_TRUE(Takes("deepseek-v3", required, V31(v3("add") + "\n" + v3("now"))));
  EXPECT_FALSE(Takes("deepseek-v3", named, V31(v3("now"))));
}

TEST(StructuredOutput, AnAnswerWithAFormOrCalls) {
  const std::string both = Tools(R"(, "response_format": {"type": "json_object"})");
  EXPECT_TRUE(Takes("deepseek-v3.1", both, "{\"x\": []}"));
  EXPECT_TRUE(Takes("deepseek-v3.1", both, V31(kAdd)));
  EXPECT_FALSE(Takes("deepseek-v3.1", both, "{}" + V31(kAdd)));
  EXPECT_FALSE(Takes("deepseek-v3.1", both, "text"));
  const std::string grammar = Tools(R"(, "grammar": "root ::= \"yes\" | \"no\"")");
  EXPECT_TRUE(Takes("deepseek-v3.1", grammar, "yes"));
  EXPECT_FALSE(Takes("deepseek-v3.1", grammar, V31(kAdd)));
}

TEST(StructuredOutput, PatternsThatCostOthersExponentialTimeDoNot) {
  const std::string a(400, 'a');
  for (const std::string pattern : {"^(a+)+$", "^(a|a)*$", "^(a*)*$", "^([a-z]+)*$", "^(a|aa)+$"}) {
    const std::string form =
        R"(, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": ")" +
        pattern + R"("}}})";
    EXPECT_TRUE(Takes("deepseek-v3.1", form, "\"" + a + "\"")) << pattern;
    EXPECT_FALSE(Takes("deepseek-v3.1", form, "\"" + a + "!\"")) << pattern;
  }
}

TEST(StructuredOutput, TheFormBeginsAfterThinking) {
  const std::string form = R"(, "response_format": {"type": "json_object"})";
  const std::string thinking = form + R"(, "chat_template_kwargs": {"thinking": true})";
  EXPECT_TRUE(Takes("deepseek-v3.1", thinking, "Hm, \"<x>\" {</think>{\"a\": 1}"));
  EXPECT_TRUE(Takes("deepseek-v3.1", thinking, "</think>\n\n{}"));
  EXPECT_FALSE(Takes("deepseek-v3.1", thinking, "never an end"));
  EXPECT_FALSE(Takes("deepseek-v3.1", thinking, "so</think>text"));
  EXPECT_TRUE(Takes("deepseek-v3.1", form, "{}"));
  EXPECT_FALSE(Takes("deepseek-v3.1", form, "<think>no</think>{}")) << "the prompt has closed it";
}

TEST(StructuredOutput, WithoutAFormThereIsNoConstraint) {
  Api api;
  api.Chat(Hello(R"(, "tools": [{"type": "function", "function": {"name": "now"}}])"));
  EXPECT_EQ(api.backend.requests.at(0).constraint, nullptr);
  // Choices have a constraint each.
  api.Chat(Hello(R"(, "n": 2, "response_format": {"type": "json_object"})"));
  EXPECT_NE(api.backend.requests.at(1).constraint, nullptr);
  EXPECT_NE(api.backend.requests.at(1).constraint, api.backend.requests.at(2).constraint);
}

}  // namespace
}  // namespace hadal::openai
