// What the API refuses, with which status, and that a good request passes afterwards.
#include <gmock/gmock.h>

#include "server/memory_bound_test_util.h"
#include "server/openai/openai_test_util.h"

namespace hadal::openai {
namespace {

using testing::HasSubstr;

/// Expects an error object with `status` and a sentence that has `part`, nothing started, and service
/// afterwards.
void ExpectRefused(Api& api, const RecordingWriter& writer, int status, const std::string& part,
                   const std::string& param = {}) {
  EXPECT_EQ(writer.status, status) << writer.body;
  EXPECT_EQ(writer.headers.at("Content-Type"), "application/json");
  const auto body = Ordered::parse(writer.body);
  ASSERT_EQ(body.size(), 1u);
  const Ordered& error = body["error"];
  ASSERT_EQ(error.size(), 4u);
  EXPECT_EQ(error["type"], status >= 500 ? "server_error" : "invalid_request_error");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(part));
  EXPECT_LT(error["message"].get<std::string>().size(), 1000u);
  EXPECT_TRUE(error.contains("code"));
  if (!param.empty()) {
    EXPECT_EQ(error["param"], param);
  }
  EXPECT_TRUE(api.backend.requests.empty());

  const auto good = api.Chat(Hello());
  ASSERT_EQ(api.backend.requests.size(), 1u);
  api.backend.Play(0, api.Ids("ok"));
  EXPECT_EQ(good->status, 200);
  api.backend.requests.clear();
}

void RefuseChat(Api& api, const std::string& body, const std::string& part, const std::string& param = {}) {
  SCOPED_TRACE(body.substr(0, 200));
  ExpectRefused(api, *api.Chat(body), 400, part, param);
}
/// With the good chat's other members.
void RefuseField(Api& api, const std::string& member, const std::string& part,
                 const std::string& param = {}) {
  RefuseChat(api, Hello(", " + member), part, param);
}
void RefuseMessages(Api& api, const std::string& messages, const std::string& part,
                    const std::string& param = {}) {
  RefuseChat(api, R"({"model": "deep", "messages": )" + messages + "}", part, param);
}
void RefuseCompletion(Api& api, const std::string& members, const std::string& part,
                      const std::string& param = {}) {
  SCOPED_TRACE(members.substr(0, 200));
  ExpectRefused(api, *api.Complete(R"({"model": "deep")" + members + "}"), 400, part, param);
}

// The list of inputs that other servers fell over, in its order.

class BadRequests : public testing::Test {
 protected:
  MemoryBound memory_{64 << 20};  // the tokenizer and the templates of the test among it
};

TEST_F(BadRequests, Counts) {
  Api api;
  RefuseField(api, R"("n": 1000000)", "'n' is 1000000, expected 1 to 128", "n");
  RefuseField(api, R"("n": 0)", "'n' is 0", "n");
  RefuseCompletion(api, R"(, "prompt": "a", "best_of": 1000000000)", "'best_of' is 1000000000 and 'n' 1",
                   "best_of");
  RefuseCompletion(api, R"(, "prompt": ["a", "b", "c"], "n": 128)", "prompts times n are more than 128",
                   "prompt");
}

TEST_F(BadRequests, EmptyPromptsAndMessages) {
  Api api;
  RefuseCompletion(api, R"(, "prompt": "")", "'prompt' is empty", "prompt");
  RefuseCompletion(api, R"(, "prompt": [])", "'prompt' is empty", "prompt");
  RefuseCompletion(api, R"(, "prompt": [""])", "'prompt[0]' is empty", "prompt");
  RefuseCompletion(api, R"(, "prompt": [[1], []])", "'prompt[1]' is empty", "prompt");
  RefuseCompletion(api, R"(, "prompt": null)", "'prompt' is missing or null", "prompt");
  RefuseCompletion(api, R"(, "prompt": {"a": 1})", "'prompt' must be a string", "prompt");
  RefuseMessages(api, "null", "'messages' is missing or null", "messages");
  RefuseMessages(api, "[]", "'messages' is empty", "messages");
  RefuseMessages(api, "[null]", "messages[0] must be an object and is null");
  RefuseMessages(api, R"([{"role": "user", "content": null}])", "'messages[0].content' is missing or null");
  RefuseMessages(api, R"([{"role": "user", "content": 5}])", "must be a string or an array of parts");
  RefuseMessages(api, R"([{"role": "root", "content": "a"}])", "and is 'root'", "messages[0].role");
  RefuseMessages(api, R"([{"role": "assistant", "content": null}])",
                 "'messages[0].content' is missing or null");
}

TEST_F(BadRequests, Lengths) {
  Api api;
  RefuseField(api, R"("max_tokens": -1)", "'max_tokens' is -1", "max_tokens");
  RefuseField(api, R"("max_tokens": 0)", "'max_tokens' is 0", "max_tokens");
  RefuseField(api, R"("max_tokens": 9223372036854775808)", "beyond 64 bits", "max_tokens");
  RefuseField(api, R"("max_tokens": 9223372036854775807)", "expected 1 to 2147483647", "max_tokens");
  RefuseField(api, R"("max_tokens": 1.5)", "must be an integer", "max_tokens");
  RefuseField(api, R"("max_completion_tokens": 99999999999999999999999)", "not valid JSON");
  // The context and one token more, in the answer and in the prompt.
  const auto prompt = api.Ids("<｜begin▁of▁sentence｜><｜User｜>Hello<｜Assistant｜></think>");
  const auto left = 4096 - static_cast<int64_t>(prompt.size());
  RefuseField(api, R"("max_tokens": )" + std::to_string(left + 1),
              "ask for " + std::to_string(left) + " at most", "max_tokens");
  std::string ids = "5";
  for (int i = 1; i < 4096; ++i) ids += ",5";
  RefuseCompletion(api, R"(, "prompt": [)" + ids + "]", "the prompt has 4096 tokens; the context holds 4096");
  RefuseCompletion(api, R"(, "prompt": [)" + ids + ",5]", "more tokens than the context of 4096");
  const auto writer = api.Chat(Hello(R"(, "max_tokens": 4096)"));
  EXPECT_EQ(Ordered::parse(writer->body)["error"]["code"], "context_length_exceeded");
}

TEST_F(BadRequests, Sampling) {
  Api api;
  RefuseField(api, R"("temperature": NaN)", "not valid JSON");
  RefuseField(api, R"("temperature": "NaN")", "'temperature' must be a number and is a string",
              "temperature");
  RefuseField(api, R"("temperature": 1e999)", "not valid JSON");
  RefuseField(api, R"("temperature": 1e308)", "temperature is 1e+308", "temperature");
  RefuseField(api, R"("temperature": -0.1)", "temperature is -0.1", "temperature");
  RefuseField(api, R"("top_p": 1.1)", "top_p", "top_p");
  RefuseField(api, R"("top_k": -2)", "top_k is -2", "top_k");
  RefuseField(api, R"("logit_bias": {"512": 1})",
              "logit_bias names token 512; the vocabulary has ids 0 to 511", "logit_bias");
  RefuseField(api, R"("logit_bias": {"-1": 1})", "logit_bias names token -1", "logit_bias");
  RefuseField(api, R"("logit_bias": {"5": 101})", "logit_bias of token 5", "logit_bias");
  RefuseField(api, R"("logit_bias": {"5": 1e300})", "logit_bias of token 5", "logit_bias");
  RefuseField(api, R"("logit_bias": {"five": 1})", "'five' is no token id", "logit_bias");
  RefuseField(api, R"("logit_bias": {"5": "1"})", "must be a number", "logit_bias.5");
  RefuseField(api, R"("logit_bias": [1])", "must be an object", "logit_bias");
  RefuseField(api, R"("logprobs": true, "top_logprobs": 1000000000)", "'top_logprobs' is 1000000000",
              "top_logprobs");
  RefuseField(api, R"("top_logprobs": 3)", "needs 'logprobs': true", "top_logprobs");
  RefuseCompletion(api, R"(, "prompt": "a", "logprobs": 1000000000)", "'logprobs' is 1000000000", "logprobs");
}

TEST_F(BadRequests, Stops) {
  Api api;
  std::string stops = "\"a\"";
  for (int i = 1; i < 10000; ++i) stops += ",\"a\"";
  RefuseField(api, R"("stop": [)" + stops + "]", "stop", "stop");
  RefuseField(api, R"("stop": [""])", "empty", "stop");
  RefuseField(api, R"("stop": ")" + std::string(2000, 'x') + "\"", "stop", "stop");
  RefuseField(api, R"("stop": [1])", "'stop' must hold strings", "stop");
  RefuseField(api, R"("stop": 1)", "'stop' must be a string or an array", "stop");
}

TEST_F(BadRequests, FormsOfTheAnswer) {
  Api api;
  // Other engines' names are named, and never run.
  RefuseField(api, R"("guided_regex": "foo**")", "'guided_regex' is not supported; use 'response_format'",
              "guided_regex");
  RefuseField(api, R"("guided_regex": "(a+)+$")", "'guided_regex' is not supported", "guided_regex");
  RefuseField(api, R"("structured_outputs": {"regex": "(x+x+)+y"})", "'structured_outputs'",
              "structured_outputs");
  RefuseField(api, R"("structured_outputs": {"json_object": false})", "'structured_outputs'",
              "structured_outputs");
  RefuseField(api, R"("response_format": {"type": "yaml"})", "is 'yaml', expected 'text'",
              "response_format.type");
  RefuseField(api, R"("response_format": "text")", "must be an object", "response_format");
  RefuseField(api, R"("response_format": {})", "expected 'text'");
  RefuseField(api, R"("response_format": {"type": "json_schema", "json_schema": ""})", "must be an object",
              "response_format.json_schema");
  RefuseField(api, R"("response_format": {"type": "json_schema"})", "'response_format.json_schema' is missing");
  RefuseField(api, R"("response_format": {"type": "json_schema", "json_schema": {"name": "a"}})",
              "'response_format.json_schema.schema' is missing", "response_format.json_schema.schema");
  RefuseField(api, R"("response_format": {"type": "json_object"}, "ignore_eos": true)", "ignore_eos",
              "ignore_eos");
  RefuseField(api, R"("response_format": {"type": "json_object"}, "grammar": "root ::= \"a\"")",
              "both say what the answer is", "grammar");
  RefuseField(api, R"("grammar": "root ::= \"a\"\nroot ::= [")", "line 2, column 1", "grammar");
  RefuseField(api, R"("grammar": "start ::= \"a\"")", "has no rule 'root'", "grammar");
  RefuseField(api, R"("grammar": "root ::= root \"a\"")", "'root' is left-recursive", "grammar");
  RefuseField(api, R"("grammar": "root ::= ((\"a\"{9999}){9999}){9999}")", "the grammar is too large", "grammar");
  RefuseField(api, R"("grammar": "root ::= <|nothing|>")", "has no token '<|nothing|>'", "grammar");
  RefuseField(api, R"("grammar": 5)", "must be a string", "grammar");
  // A malformed schema after one that would be valid.
  RefuseField(
      api,
      R"("guided_json": {"type": "object"}, "response_format": {"type": "json_schema", "json_schema": [)",
      "JSON");
  EXPECT_EQ(api.Chat(Hello(R"(, "response_format": {"type": "text"})"))->status, 0) << "goes to the engine";
}

TEST_F(BadRequests, Schemas) {
  Api api;
  const auto refuse = [&](const std::string& schema, const std::string& part) {
    RefuseField(api, R"("response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": )" + schema + "}}",
                part, "response_format.json_schema.schema");
  };
  refuse(R"({"$ref": "#"})", "is left-recursive");
  refuse(R"({"$ref": "https://example.com/a"})", "only references within it");
  refuse(R"({"properties": {"a": {"not": {}}}})", "keyword 'not' at /properties/a/not is not supported");
  refuse(R"({"type": "string", "pattern": "foo**"})", "'pattern' at /pattern has two quantifiers");
  refuse(R"({"type": "string", "pattern": "\\ba"})", "is not supported");
  refuse(R"("a string")", "must be an object");
  refuse(R"({"type": "strong"})", "'strong', which is no type");
  refuse(R"({"type": "array", "items": {"type": "string", "minLength": 100000}, "minItems": 100000})",
         "the grammar is too large");
  EXPECT_EQ(api.Chat(Hello(
                R"(, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {"a": {"$ref": "#"}}}}})"))
                ->status,
            0)
      << "a reference to itself that ends";
}

TEST_F(BadRequests, Tools) {
  Api api;
  const auto tools = [](const std::string& function) {
    return R"("tools": [{"type": "function", "function": )" + function + "}]";
  };
  RefuseField(
      api,
      tools(R"({"name": "f", "parameters": {"properties": {"a": {"type": "string", "pattern": "foo**"}}}})"),
      "no regular expression", "tools[0].function.parameters");
  RefuseField(api, tools(R"({"name": "f", "parameters": {"anyOf": [{"pattern": "("}]}})"),
              "no regular expression");
  RefuseField(api, tools(R"({"name": "f g"})"), "must be 1 to 64 letters", "tools[0].function.name");
  RefuseField(api, tools(R"({})"), "must be 1 to 64 letters");
  RefuseField(api, tools(R"({"name": "f", "parameters": "{}"})"), "must be an object");
  RefuseField(api, tools(R"({"name": "f", "strict": true, "parameters": {"not": {}}})"), "keyword 'not' at /not",
              "tools[0].function.parameters");
  RefuseField(api, R"("tools": {})", "'tools' must be an array", "tools");
  RefuseField(api, R"("tools": [{"type": "code"}])", "must be 'function'", "tools[0].type");
  RefuseField(api, R"("tool_choice": "required")", "there are no tools", "tool_choice");
  RefuseField(api, R"("tool_choice": {"type": "function", "function": {"name": "f"}})", "names 'f', which is not among",
              "tool_choice");
  RefuseField(api, tools(R"({"name": "f"})") + R"(, "tool_choice": {"type": "function", "function": {"name": "g"}})",
              "names 'g', which is not among", "tool_choice");
  RefuseField(api, R"("tool_choice": {"type": "function"})", "'tool_choice' must be", "tool_choice");
  RefuseField(api, R"("tool_choice": "maybe")", "'tool_choice' must be 'auto', 'none', 'required'", "tool_choice");
  RefuseField(api, R"("functions": [])", "use 'tools'", "functions");
  std::string many = R"({"type": "function", "function": {"name": "f"}})";
  for (int i = 1; i < 129; ++i) many += R"(,{"type": "function", "function": {"name": "f"}})";
  RefuseField(api, R"("tools": [)" + many + "]", "more than 128 entries", "tools");
  // Never run, so it may stand there; and a schema that refers to itself is only passed on.
  EXPECT_EQ(
      api.Chat(Hello(", " + tools(R"({"name": "f", "parameters": {"pattern": "(a+)+$", "$ref": "#"}})")))
          ->status,
      0);
}

TEST_F(BadRequests, TheTemplateIsTheServers) {
  Api api;
  RefuseField(api, R"("chat_template": "{{ messages }}")", "cannot be given by a request", "chat_template");
  for (const char* name :
       {"messages", "tools", "documents", "add_generation_prompt", "chat_template", "bos_token"})
    RefuseField(api, R"("chat_template_kwargs": {")" + std::string(name) + R"(": "x"})",
                "cannot set '" + std::string(name));
  RefuseField(api, R"("chat_template_kwargs": "thinking")", "must be an object", "chat_template_kwargs");
  Api bare;
  bare.context.chat_template.reset();
  const auto writer = bare.Chat(Hello());
  EXPECT_EQ(writer->status, 400);
  EXPECT_THAT(writer->body, HasSubstr("no chat template"));
}

TEST_F(BadRequests, Characters) {
  Api api;
  RefuseMessages(api, "[{\"role\": \"user\", \"content\": \"a\xFF\"}]", "not valid JSON");
  RefuseMessages(api, "[{\"role\": \"user\", \"content\": \"a\xE2\x82\"}]", "not valid JSON");
  RefuseMessages(api, "[{\"role\": \"user\", \"content\": \"\xED\xA0\x80\"}]", "not valid JSON");
  RefuseMessages(api, R"([{"role": "user", "content": "\ud800"}])", "surrogate");
  RefuseMessages(api, R"([{"role": "user", "content": "\udc00"}])", "surrogate");
  RefuseMessages(api, R"([{"role": "user", "content": "\ud83d x"}])", "surrogate");
  RefuseField(api, R"("ignored": ["\udfff"])", "surrogate");
  RefuseField(api, R"("\udfff": 1)", "surrogate");
}

TEST_F(BadRequests, NegativeAndForeignTokenIds) {
  Api api;
  RefuseCompletion(api, R"(, "prompt": [-1])", "has the id -1, which names no token", "prompt");
  RefuseCompletion(api, R"(, "prompt": [5, 512])", "has the id 512, which names no token", "prompt");
  RefuseCompletion(api, R"(, "prompt": [[5], [4294967297]])", "has the id 4294967297");
  RefuseCompletion(api, R"(, "prompt": [18446744073709551615])", "must hold token ids");
  RefuseCompletion(api, R"(, "prompt": [1.5])", "must hold token ids");
  RefuseCompletion(api, R"(, "prompt": [5, "a"])", "must hold token ids");
  RefuseField(api, R"("stop_token_ids": [-1])", "'stop_token_ids[0]' is -1");
  RefuseField(api, R"("priority": -99999999999)", "'priority' is -99999999999");
}

TEST_F(BadRequests, ContentTypes) {
  Api api;
  for (const char* type :
       {"text/plain", "", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data"}) {
    const auto writer = api.Call("POST", "/v1/chat/completions", Hello(), type);
    ExpectRefused(api, *writer, 415, "expected 'application/json'");
  }
  for (const char* path : {"/v1/completions", "/v1/tokenize", "/v1/detokenize"})
    ExpectRefused(api, *api.Call("POST", path, "{}", "text/plain"), 415, "expected 'application/json'");
  EXPECT_EQ(api.Call("POST", "/v1/chat/completions", Hello(), "Application/JSON ; charset=utf-8")->status, 0);
}

TEST_F(BadRequests, Models) {
  Api api;
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/tokenize", "/v1/detokenize"}) {
    const auto writer = api.Call("POST", path, R"({"model": "gpt-4", "messages": [], "prompt": "a"})");
    EXPECT_EQ(Ordered::parse(writer->body)["error"]["code"], "model_not_found");
    ExpectRefused(api, *writer, 404, "there is no model 'gpt-4' here; this server has 'deep'", "model");
  }
  RefuseChat(api, R"({"messages": [{"role": "user", "content": "a"}]})", "'model' is missing", "model");
  RefuseChat(api, R"({"model": 5, "messages": [{"role": "user", "content": "a"}]})",
             "'model' must be a string", "model");
}

TEST_F(BadRequests, MediaAreNeverFetched) {
  Api api;
  for (const char* url : {R"(http://example.com\\@169.254.169.254/)",
                          "http://169.254.169.254/latest/meta-data", "file:///etc/passwd"})
    RefuseMessages(api,
                   R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ")" +
                       std::string(url) + R"("}}]}])",
                   "takes only text", "messages[0].content[0].type");
  RefuseMessages(api, R"([{"role": "user", "content": [{"type": "text"}]}])",
                 "'messages[0].content[0].text' is missing");
  RefuseMessages(api, R"([{"role": "user", "content": ["a"]}])", "must be an object");
}

TEST_F(BadRequests, Bodies) {
  Api api;
  for (const char* body : {"", "{", "null", "[]", "5", "{} {}", "{\"model\": \"deep\",}", "\"x\""})
    RefuseChat(api, body, "");
  RefuseChat(api, Hello(R"(, "n": 1, "n": 2)"), "'n' stands twice", "n");
  RefuseMessages(api, R"([{"role": "user", "role": "system", "content": "a"}])",
                 "'messages[0].role' stands twice");
  RefuseField(api, R"("x": )" + std::string(10000, '[') + std::string(10000, ']'), "not valid JSON");
  RefuseField(api, R"("stream": "yes")", "'stream' must be true or false", "stream");
  RefuseField(api, R"("stream_options": {"include_usage": true})", "only for calls with 'stream': true");
  RefuseField(api, R"("seed": 1.5)", "'seed' must be an integer", "seed");
}

TEST_F(BadRequests, FullQueueAndDraining) {
  Api api;
  api.backend.accept = 0;
  const auto full = api.Chat(Hello());
  EXPECT_EQ(full->status, 429);
  EXPECT_EQ(full->headers["Retry-After"], "1");
  EXPECT_EQ(Ordered::parse(full->body)["error"]["type"], "rate_limit_error");
  api.backend.refusal = {Code::kUnavailable, "draining"};
  const auto draining = api.Chat(Hello(R"(, "stream": true)"));
  EXPECT_EQ(draining->status, 503);
  EXPECT_EQ(draining->headers["Retry-After"], "1");
  EXPECT_EQ(Ordered::parse(draining->body)["error"]["type"], "server_error");
}

}  // namespace
}  // namespace hadal::openai
