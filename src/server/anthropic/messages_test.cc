// /v1/messages: prompts, answers whole and streamed, refusals.
#include <gmock/gmock.h>

#include "server/anthropic/error_reply.h"
#include "server/anthropic/routes.h"
#include "server/api/api_test_util.h"

namespace hadal::anthropic {
namespace {

using namespace api;
using testing::HasSubstr;

class Api : public TestApi {
 public:
  explicit Api(const std::string& template_name = "deepseek-v3.1")
      : TestApi(template_name, AnthropicRoutes) {}

  std::shared_ptr<RecordingWriter> Messages(const std::string& body) {
    return Call("POST", "/v1/messages", body);
  }
  /// The text of the prompt that the last request got.
  std::string Prompt() { return context.tokenizer.Decode(backend.requests.back().prompt).value(); }
};

/// One user message, with more members after it.
std::string Hello(const std::string& more = {}) {
  return R"({"model": "deep", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}])" + more +
         "}";
}
std::string Conversation(const std::string& messages, const std::string& more = {}) {
  return R"({"model": "deep", "max_tokens": 100, "messages": )" + messages + more + "}";
}

const std::string kTools =
    R"(, "tools": [{"name": "weather", "description": "of a city", "cache_control": {"type": "ephemeral"},)"
    R"( "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}])";
const std::string kCalls =
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Bern\"}<｜tool▁call▁end｜>"
    "<｜tool▁call▁begin｜>now<｜tool▁sep｜>at once<｜tool▁call▁end｜><｜tool▁calls▁end｜>";

/// The message that the events of a stream add up to, as Anthropic's clients do it. Checks their order.
Ordered AddUp(const RecordingWriter& writer) {
  Ordered message;
  std::string partial_json;
  bool open = false, stopped = false;
  for (const std::string& data : writer.Events()) {
    const Ordered event = Ordered::parse(data);
    const std::string type = event["type"];
    EXPECT_FALSE(stopped) << "after message_stop: " << data;
    if (type == "message_start") {
      EXPECT_TRUE(message.is_null());
      message = event["message"];
    } else if (type == "content_block_start") {
      EXPECT_FALSE(open);
      open = true;
      EXPECT_EQ(event["index"], message["content"].size());
      message["content"].push_back(event["content_block"]);
      partial_json.clear();
    } else if (type == "content_block_delta") {
      EXPECT_TRUE(open);
      Ordered& block = message["content"].back();
      EXPECT_EQ(event["index"], message["content"].size() - 1);
      const Ordered& delta = event["delta"];
      if (delta["type"] == "input_json_delta") {
        partial_json += delta["partial_json"];
      } else {
        const std::string key = delta["type"] == "text_delta" ? "text" : "thinking";
        block[key] = block[key].get<std::string>() + delta[key].get<std::string>();
      }
    } else if (type == "content_block_stop") {
      EXPECT_TRUE(open);
      EXPECT_EQ(event["index"], message["content"].size() - 1);
      open = false;
      if (!partial_json.empty()) message["content"].back()["input"] = Ordered::parse(partial_json);
    } else if (type == "message_delta") {
      EXPECT_FALSE(open);
      message.update(event["delta"]);
      message["usage"] = event["usage"];
    } else if (type == "message_stop") {
      stopped = true;
    } else {
      EXPECT_EQ(type, "ping") << data;
    }
  }
  EXPECT_TRUE(stopped);
  return message;
}

/// Without what differs from call to call.
Ordered Stable(Ordered message) {
  EXPECT_EQ(message["id"].get<std::string>().substr(0, 4), "msg_");
  message["id"] = "msg";
  for (Ordered& block : message["content"]) {
    if (!block.contains("id")) continue;
    EXPECT_EQ(block["id"].get<std::string>().substr(0, 6), "toolu_");
    block["id"] = "toolu";
  }
  return message;
}

/// The same call whole and as a stream, answered with the same tokens; both must be the same message.
Ordered Answer(Api& api, const std::string& more, const std::string& text,
               FinishReason reason = FinishReason::kStop) {
  const auto whole = api.Messages(Hello(more));
  const auto stream = api.Messages(Hello(more + R"(, "stream": true)"));
  EXPECT_EQ(api.backend.requests.size(), 2u) << whole->body;
  for (size_t i = 0; i < api.backend.requests.size(); ++i) {
    for (const int32_t id : api.Ids(text)) api.backend.Token(i, id);
    api.backend.End(i, reason);
  }
  EXPECT_EQ(whole->status, 200);
  EXPECT_EQ(stream->headers["Content-Type"], "text/event-stream; charset=utf-8");
  const Ordered message = Stable(Ordered::parse(whole->body));
  EXPECT_EQ(Stable(AddUp(*stream)), message);
  return message;
}

TEST(Messages, WholeAndStreamed) {
  Api api;
  const Ordered message = Answer(api, "", "Hi \"you\" é");
  const auto& request = api.backend.requests[0];
  EXPECT_EQ(request.prompt, api.Ids("<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜></think>"));
  EXPECT_EQ(request.params.max_tokens, 100);
  const auto input = std::to_string(request.prompt.size() - 1);
  const auto output = std::to_string(api.Ids("Hi \"you\" é").size());
  EXPECT_EQ(
      message.dump(),
      R"({"id":"msg","type":"message","role":"assistant","model":"deep","content":[{"type":"text",)"
      R"("text":"Hi \"you\" é"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":)" +
          input + R"(,"cache_creation_input_tokens":0,"cache_read_input_tokens":1,"output_tokens":)" +
          output + "}}");
}

TEST(Messages, EventsCarryTheirNames) {
  Api api;
  const auto stream = api.Messages(Hello(R"(, "stream": true)"));
  api.backend.Token(0, api.Ids("a")[0]);
  EXPECT_EQ(stream->writes, 1) << "every token goes out when it comes";
  api.backend.End(0, FinishReason::kStop);
  std::vector<std::string> names;
  for (const std::string& data : stream->Events()) {
    names.push_back(Ordered::parse(data)["type"]);
    EXPECT_THAT(stream->body, HasSubstr("event: " + names.back() + "\ndata: " + data + "\n\n"));
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"message_start", "ping", "content_block_start", "content_block_delta",
                                      "content_block_stop", "message_delta", "message_stop"}));
}

TEST(Messages, StopReasons) {
  for (const auto& [reason, word] :
       std::map<FinishReason, std::string>{{FinishReason::kStop, "end_turn"},
                                           {FinishReason::kLength, "max_tokens"},
                                           {FinishReason::kContext, "max_tokens"}}) {
    Api api;
    EXPECT_EQ(Answer(api, "", "a", reason)["stop_reason"], word);
  }
  Api api;
  const Ordered stopped = Answer(api, R"(, "stop_sequences": ["x", "END"])", "aENDb");
  EXPECT_EQ(stopped["stop_reason"], "stop_sequence");
  EXPECT_EQ(stopped["stop_sequence"], "END");
  EXPECT_EQ(stopped["content"][0]["text"], "a");
  EXPECT_EQ(api.backend.requests[0].params.stop.size(), 0u) << "the loop knows no text";
  Api silent;
  EXPECT_EQ(Answer(silent, "", "")["content"], Ordered::array());
}

TEST(Messages, Thinking) {
  Api api;
  const Ordered message = Answer(api, R"(, "thinking": {"type": "enabled", "budget_tokens": 1024})",
                                 "I think\nso\n</think>\n\nYes");
  EXPECT_EQ(api.backend.requests[0].prompt,
            api.Ids("<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜><think>"));
  EXPECT_EQ(message["content"].dump(),
            R"([{"type":"thinking","thinking":"I think\nso","signature":""},{"type":"text","text":"Yes"}])");
  Api off;
  off.Messages(Hello(R"(, "thinking": {"type": "disabled"})"));
  EXPECT_THAT(off.Prompt(), HasSubstr("</think>"));
}

TEST(Messages, ToolCallsComeLastAndAsObjects) {
  Api api;
  const Ordered message = Answer(api, kTools, "Let me see." + kCalls);
  EXPECT_THAT(api.Prompt(), HasSubstr("### weather\nDescription: of a city"));
  EXPECT_EQ(message["stop_reason"], "tool_use");
  EXPECT_EQ(message["content"].dump(),
            R"([{"type":"text","text":"Let me see."},)"
            R"({"type":"tool_use","id":"toolu","name":"weather","input":{"city":"Bern"}},)"
            R"({"type":"tool_use","id":"toolu","name":"now","input":{"invalid_arguments":"at once"}}])");
  Api none;
  EXPECT_EQ(Answer(none, kTools + R"(, "tool_choice": {"type": "none"})", kCalls)["stop_reason"], "end_turn")
      << "markup of calls is text where no tool may be called";
}

TEST(Messages, AConversationWithToolsBecomesTheTemplatesTurns) {
  Api api;
  api.Messages(Conversation(
      R"([{"role": "user", "content": [{"type": "text", "text": "We"}, {"type": "text", "text": "ather?"}]},)"
      R"( {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},)"
      R"( {"type": "text", "text": "Let me see."},)"
      R"( {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern", "n": [1, 2]}}]},)"
      R"( {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},)"
      R"( {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true,)"
      R"( "content": [{"type": "text", "text": "no such city"}]}, {"type": "text", "text": "Well?"}]}])",
      R"(, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}])"));
  ASSERT_EQ(api.backend.requests.size(), 1u);
  EXPECT_EQ(
      api.Prompt(),
      "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Weather?<｜Assistant｜></think>Let me see."
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Bern\", \"n\": [1, 2]}"
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜><｜tool▁output▁begin｜>sunny"
      "<｜tool▁output▁end｜><｜tool▁output▁begin｜>Error: no such city<｜tool▁output▁end｜>"
      "<｜User｜>Well?<｜Assistant｜></think>");
}

TEST(Messages, CountsTheTokensOfTheSamePrompt) {
  Api api;
  const std::string more = R"(, "system": "Be brief.")" + kTools;
  api.Messages(Hello(more));
  const auto counted =
      api.Call("POST", "/v1/messages/count_tokens",
               R"({"model": "deep", "messages": [{"role": "user", "content": "Hello"}])" + more + "}");
  EXPECT_EQ(counted->status, 200);
  EXPECT_EQ(counted->body,
            fmt::format(R"({{"input_tokens":{}}})", api.backend.requests.back().prompt.size()));
}

void Refuse(const std::string& body, const std::string& part, int status = 400) {
  SCOPED_TRACE(body.substr(0, 200));
  Api api;
  const auto writer = api.Messages(body);
  EXPECT_EQ(writer->status, status);
  EXPECT_TRUE(api.backend.requests.empty());
  const Ordered error = Ordered::parse(writer->body);
  EXPECT_EQ(error["type"], "error");
  EXPECT_EQ(error["error"]["type"], status == 404 ? "not_found_error" : "invalid_request_error");
  EXPECT_THAT(error["error"]["message"].get<std::string>(), HasSubstr(part));
  EXPECT_LT(writer->body.size(), 1000u);
  const auto good = api.Messages(Hello());
  ASSERT_EQ(api.backend.requests.size(), 1u);
  api.backend.Play(0, api.Ids("ok"));
  EXPECT_EQ(good->status, 200);
}
void RefuseContent(const std::string& role, const std::string& content, const std::string& part) {
  Refuse(Conversation(R"([{"role": ")" + role + R"(", "content": )" + content + R"(}])"), part);
}

TEST(Messages, RefusesByName) {
  Refuse("{", "not valid JSON");
  Refuse(R"({"model": "other", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})",
         "no model 'other'", 404);
  Refuse(R"({"model": "deep", "messages": [{"role": "user", "content": "x"}]})", "'max_tokens' is missing");
  Refuse(Hello(R"(, "temperature": "hot")"), "'temperature' must be a number");
  Refuse(Hello(R"(, "top_k": 1.5)"), "'top_k' must be an integer");
  Refuse(Hello(R"(, "stop_sequences": "x")"), "'stop_sequences' must be an array");
  Refuse(Hello(R"(, "stop_sequences": [""])"), "empty");
  Refuse(Hello(R"(, "mcp_servers": [])"), "'mcp_servers' asks for tools that run on the server");
  const auto format = [](const std::string& members) {
    return Hello(R"(, "output_config": {"format": {)" + members + "}}");
  };
  Refuse(format(R"("type": "json_schema")"), "'output_config.format.schema' is missing");
  Refuse(format(R"("type": "json_object")"), "'output_config.format.type' must be 'json_schema'");
  Refuse(format(R"("type": "json_schema", "schema": {"not": {}})"), "'output_config.format.schema': ");
  Refuse(format(R"("type": "json_schema", "schema": "")"), "'output_config.format.schema': ");
  Refuse(Hello(R"(, "output_format": {"type": "json_schema"})"), "use 'output_config.format'");
  Refuse(Hello(R"(, "thinking": {"type": "much"})"), "'thinking.type' must be 'enabled' or 'disabled'");
  Refuse(Hello(R"(, "system": [{"type": "image"}])"), "'system[0].type' is 'image'");
  Refuse(Conversation("[]"), "'messages' is empty");
  RefuseContent("user", R"([{"type": "image", "source": {}}])", "'messages[0].content[0].type' is 'image'");
  RefuseContent("user", R"([{"type": "document"}])", "is 'document'");
  RefuseContent("user", "[]", "'messages[0].content' is empty");
  RefuseContent("user", R"([{"type": "tool_result", "content": "x"}])", "tool_use_id' is missing");
  RefuseContent("user", R"([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}])",
                "'messages[0].content[0].content[0].type' is 'image'");
  RefuseContent("assistant", R"([{"type": "redacted_thinking", "data": "x"}])", "is 'redacted_thinking'");
  RefuseContent("assistant", R"([{"type": "tool_use", "id": "a", "name": "b", "input": "c"}])",
                "input must be an object");
  RefuseContent("assistant", R"("Once upon")", "the last message is the assistant's");
  RefuseContent("tool", R"("x")", "must be user or assistant and is 'tool'");
}

/// Inputs that other servers fell over, as /v1/chat/completions gets them in bad_requests_test.
TEST(Messages, RefusesWhatWouldDoHarm) {
  const auto limited = [](const std::string& max_tokens) {
    return R"({"model": "deep", "messages": [{"role": "user", "content": "x"}], "max_tokens": )" + max_tokens + "}";
  };
  for (const char* tokens : {"-1", "0", "9223372036854775807"}) Refuse(limited(tokens), "'max_tokens' is");
  Refuse(limited("9223372036854775808"), "beyond 64 bits");
  Refuse(limited("4096"), "at most");
  Refuse(Hello(R"(, "temperature": NaN)"), "not valid JSON");
  Refuse(Hello(R"(, "temperature": 1e308)"), "temperature is 1e+308");
  std::string stops = "\"a\"", tools = R"({"name": "f", "input_schema": {}})", many = tools;
  for (int i = 1; i < 10'000; ++i) stops += ",\"a\"";
  for (int i = 1; i < 129; ++i) many += "," + tools;
  Refuse(Hello(R"(, "stop_sequences": [)" + stops + "]"), "stop");
  Refuse(Hello(R"(, "tools": [)" + many + "]"), "more than 128 entries");
  Refuse(Hello(R"(, "x": )" + std::string(10'000, '[') + std::string(10'000, ']')), "not valid JSON");
  RefuseContent("user", "\"a\xFF\"", "not valid JSON");
  RefuseContent("user", R"("\ud800")", "surrogate");
  RefuseContent("user", R"([{"type": "image", "source": {"type": "url", "url": "http://a\\@169.254.169.254/"}}])",
                "is 'image'");
  Refuse(R"({"model": "deep", "max_tokens": 1, "messages": null})", "'messages'");
  Api api;
  const auto writer = api.Call("POST", "/v1/messages", Hello(), "text/plain");
  EXPECT_EQ(writer->status, 415);
  EXPECT_TRUE(api.backend.requests.empty());
}

TEST(Messages, RefusesToolsByName) {
  const auto tool = [](const std::string& members) { return Hello(R"(, "tools": [{)" + members + "}]"); };
  Refuse(tool(R"("type": "bash_20250124", "name": "bash")"), "'tools[0].type' is 'bash_20250124'");
  Refuse(tool(R"("name": "a b", "input_schema": {})"), "'tools[0].name' must be");
  Refuse(tool(R"("name": "a")"), "'tools[0].input_schema' is missing");
  Refuse(tool(R"("name": "a", "input_schema": {"properties": {"x": {"pattern": "("}}})"),
         "no regular expression");
  Refuse(Hello(kTools + R"(, "tool_choice": {"type": "tool", "name": "other"})"),
         "is 'other', which is not among");
  Refuse(Hello(R"(, "tool_choice": {"type": "any"})"), "there are no tools");
  Refuse(Hello(kTools + R"(, "tool_choice": {"type": "tool"})"), "'tool_choice.name' is missing");
  Refuse(Hello(kTools + R"(, "tool_choice": {"type": "some"})"), "must be auto, any, tool or none");
  Refuse(tool(R"("name": "a", "strict": true, "input_schema": {"not": {}})"), "'tools[0].input_schema': ");
}

const std::string kStrictTools =
    R"(, "tools": [{"name": "add", "strict": true, "input_schema": {"type": "object",)"
    R"( "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}},)"
    R"( {"name": "now", "input_schema": {"type": "object"}}])";

std::string Calling(const std::vector<std::string>& calls) {
  std::string text = "<｜tool▁calls▁begin｜>";
  for (const std::string& call : calls)
    text += "<｜tool▁call▁begin｜>" + call.substr(0, 3) + "<｜tool▁sep｜>" + call.substr(4) + "<｜tool▁call▁end｜>";
  return text + "<｜tool▁calls▁end｜>";
}

/// Whether an answer to a call with `more` may be `text`.
testing::AssertionResult Takes(const std::string& more, const std::string& text) {
  Api api;
  const auto writer = api.Messages(Hello(more));
  if (api.backend.requests.empty()) return testing::AssertionFailure() << writer->body;
  return TakesWhole(api, text);
}

TEST(Messages, StrictToolsBindTheirInput) {
  EXPECT_TRUE(Takes(kStrictTools, "Any text."));
  EXPECT_TRUE(Takes(kStrictTools, "So:" + Calling({"add {\"a\": 1}", "now {\"b\": [\"x\"]}"})));
  EXPECT_FALSE(Takes(kStrictTools, Calling({"add {\"b\": 1}"})));
  EXPECT_FALSE(Takes(kStrictTools, Calling({"sub {\"a\": 1}"})));
}

TEST(Messages, ToolChoiceIsHeld) {
  const auto choice = [](const std::string& members) {
    return kStrictTools + R"(, "tool_choice": {"type": )" + members + "}";
  };
  const std::string add = "add {\"a\": 1}", now = "now {}";
  EXPECT_FALSE(Takes(choice(R"("any")"), "No."));
  EXPECT_TRUE(Takes(choice(R"("any")"), Calling({now, add})));
  EXPECT_TRUE(Takes(choice(R"("any", "disable_parallel_tool_use": true)"), Calling({now})));
  EXPECT_FALSE(Takes(choice(R"("any", "disable_parallel_tool_use": true)"), Calling({now, add})));
  EXPECT_TRUE(Takes(choice(R"("auto", "disable_parallel_tool_use": true)"), "No."));
  EXPECT_FALSE(Takes(choice(R"("auto", "disable_parallel_tool_use": true)"), Calling({now, now})));
  EXPECT_TRUE(Takes(choice(R"("tool", "name": "now")"), Calling({now, now})));
  EXPECT_FALSE(Takes(choice(R"("tool", "name": "now")"), Calling({add})));
  EXPECT_FALSE(Takes(choice(R"("tool", "name": "now")"), "No."));
  Api none;
  none.Messages(Hello(choice(R"("none")")));
  EXPECT_EQ(none.backend.requests.at(0).constraint, nullptr) << "nothing may be called";
  Api free;
  free.Messages(Hello(kTools));
  EXPECT_EQ(free.backend.requests.at(0).constraint, nullptr) << "nothing is asked for";
}

TEST(Messages, OutputFormatIsHeld) {
  const std::string format =
      R"(, "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object",)"
      R"( "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": false}}})";
  EXPECT_TRUE(Takes(format, "{\"a\": 2}"));
  EXPECT_FALSE(Takes(format, "{\"a\": 3}"));
  EXPECT_FALSE(Takes(format, "Two."));
  const std::string thinking = format + R"(, "thinking": {"type": "enabled", "budget_tokens": 1024})";
  EXPECT_TRUE(Takes(thinking, "Hm, 3?</think>{\"a\": 1}")) << "the form begins after thinking";
  EXPECT_FALSE(Takes(thinking, "Hm</think>Two."));
  EXPECT_TRUE(Takes(format + kStrictTools, "{\"a\": 1}"));
  EXPECT_TRUE(Takes(format + kStrictTools, Calling({"now {}"})));
  EXPECT_FALSE(Takes(format + kStrictTools, "Text"));
}

TEST(Messages, ThinkingThatTheModelCannotDoIsRefused) {
  Api v3("deepseek-v3"), r1("deepseek-r1");
  const auto enabled = v3.Messages(Hello(R"(, "thinking": {"type": "enabled", "budget_tokens": 1})"));
  EXPECT_EQ(enabled->status, 400);
  EXPECT_THAT(enabled->body, HasSubstr("does not think"));
  EXPECT_THAT(r1.Messages(Hello(R"(, "thinking": {"type": "disabled"})"))->body, HasSubstr("always thinks"));
  r1.Messages(Hello(R"(, "thinking": {"type": "enabled", "budget_tokens": 1})"));
  EXPECT_EQ(r1.backend.requests.size(), 1u);
}

TEST(Messages, FailuresInAnthropicsWords) {
  Api full;
  full.backend.accept = 0;
  const auto refused = full.Messages(Hello());
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->headers["Retry-After"], "1");
  EXPECT_EQ(refused->body,
            R"({"type":"error","error":{"type":"rate_limit_error","message":"the queue is full"}})");
  full.backend.refusal = {Code::kUnavailable, "draining"};
  const auto draining = full.Messages(Hello());
  EXPECT_EQ(draining->status, 529);
  EXPECT_EQ(draining->headers["Retry-After"], "1");
  EXPECT_THAT(draining->body, HasSubstr("overloaded_error"));

  Api api;
  const auto stream = api.Messages(Hello(R"(, "stream": true)"));
  api.backend.Token(0, api.Ids("a")[0]);
  api.backend.End(0, FinishReason::kError, {Code::kDataLoss, "logits are NaN"});
  EXPECT_TRUE(stream->body.ends_with(
      "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"logits are "
      "NaN\"}}\n\n"))
      << stream->body;
  EXPECT_TRUE(stream->ended);
  EXPECT_THAT(AnthropicRefusal(401, "no", ""), HasSubstr("authentication_error"));
  EXPECT_THAT(AnthropicRefusal(403, "no", ""), HasSubstr("permission_error"));
  EXPECT_THAT(AnthropicRefusal(413, "no", ""), HasSubstr("request_too_large"));
}

}  // namespace
}  // namespace hadal::anthropic
