#include "server/openai/routes.h"

#include <algorithm>
#include <ctime>
#include <random>

#include "base/check.h"
#include "server/openai/call.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"
#include "server/openai/tokenize.h"

namespace hadal::openai {
namespace {

// The default of OpenAI's completions; chats go on to the end of the context.
constexpr int64_t kCompletionTokens = 16;

std::string NewId(std::string_view kind) {
  std::random_device device;
  return fmt::format("{}-{:08x}{:08x}{:08x}", kind, device(), device(), device());
}

/// The media type must be JSON: a browser's form can't forge that without asking first.
ApiStatus CheckContentType(const HttpRequest& request) {
  const std::string* header = request.Header("content-type");
  std::string type = header ? header->substr(0, header->find(';')) : std::string();
  type.erase(type.find_last_not_of(" \t") + 1);
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
  if (type == "application/json" && request.CountHeader("content-type") == 1) return {};
  return tl::unexpected(ApiError(
      415, fmt::format("the Content-Type is '{}', expected 'application/json'", type.substr(0, 64))));
}

Response::Options ResponseOptions(const ApiContext& api, const GenerationOptions& options,
                                  std::string_view kind) {
  return {.id = NewId(kind),
          .created = static_cast<int64_t>(std::time(nullptr)),
          .model = api.model,
          .logprobs = options.logprobs >= 0,
          .token_ids = options.return_token_ids,
          .usage_in_stream = options.include_usage};
}

ApiResult<CallPlan> PlanChat(const ApiContext& api, const Fields& fields) {
  ASSIGN_OR_RETURN(ChatRequest request, ReadChatRequest(fields, api));
  auto prompt = EncodeChat(api, request.chat);
  if (!prompt) return tl::unexpected(ClientsFault(std::move(prompt).error()));
  if (prompt->ids.empty()) return BadField("messages", "the messages make an empty prompt");
  CallPlan plan{.options = std::move(request.options)};
  plan.parser = {.format = api.format,
                 .inside_thinking = EndsInsideThinking(prompt->text),
                 .parse_tools = request.offers_tools};
  ASSIGN_OR_RETURN(const int64_t max_tokens,
                   FitMaxTokens(plan.options.sampling.max_tokens, 0, prompt->ids.size(), api));
  plan.prompts.push_back({std::move(prompt->ids), max_tokens, {}});
  plan.response = MakeChatResponse(ResponseOptions(api, plan.options, "chatcmpl"), api.tokenizer);
  return plan;
}

ApiResult<CallPlan> PlanCompletion(const ApiContext& api, const Fields& fields) {
  ASSIGN_OR_RETURN(CompletionRequest request, ReadCompletionRequest(fields, api));
  CallPlan plan{.options = std::move(request.options)};
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    ASSIGN_OR_RETURN(
        const int64_t max_tokens,
        FitMaxTokens(plan.options.sampling.max_tokens, kCompletionTokens, request.prompts[i].size(), api));
    plan.prompts.push_back({std::move(request.prompts[i]), max_tokens,
                            request.echoes.empty() ? std::string() : std::move(request.echoes[i])});
  }
  plan.response = MakeCompletionResponse(ResponseOptions(api, plan.options, "cmpl"), api.tokenizer);
  return plan;
}

using Planner = ApiResult<CallPlan> (*)(const ApiContext&, const Fields&);

void RunCall(const ApiContext& api, Planner planner, std::string_view text,
             std::shared_ptr<const Identity> identity, std::shared_ptr<ResponseWriter> writer) {
  auto plan = [&]() -> ApiResult<CallPlan> {
    ASSIGN_OR_RETURN(const JsonBody body, JsonBody::Parse(text));
    ASSIGN_OR_RETURN(const Fields fields, Fields::Of(body.root()));
    return planner(api, fields);
  }();
  if (!plan) return SendError(*writer, plan.error());
  plan->identity = std::move(identity);
  StartCall(api, *std::move(plan), std::move(writer));
}

/// Runs `answer(body, writer)` after the checks that all POST routes share; elsewhere if the body is large.
template <typename Answer>
Handler PostHandler(const ApiContext& api, Answer answer) {
  return [&api, answer](const HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
    if (ApiStatus type = CheckContentType(request); !type) return SendError(*writer, type.error());
    if (!api.run_elsewhere || request.body.size() <= kInlineBodyBytes)
      return answer(request.body, request.identity, std::move(writer));
    api.run_elsewhere([answer, body = request.body, identity = request.identity, writer = std::move(writer)] {
      answer(body, identity, writer);
    });
  };
}

Handler CallHandler(const ApiContext& api, Planner planner) {
  return PostHandler(api, [&api, planner](std::string_view body, std::shared_ptr<const Identity> identity,
                                          std::shared_ptr<ResponseWriter> writer) {
    RunCall(api, planner, body, std::move(identity), std::move(writer));
  });
}

using TextAnswer = ApiResult<std::string> (*)(const ApiContext&, std::string_view);

Handler TextHandler(const ApiContext& api, TextAnswer make) {
  return PostHandler(api, [&api, make](std::string_view body, const std::shared_ptr<const Identity>&,
                                       const std::shared_ptr<ResponseWriter>& writer) {
    ApiResult<std::string> made = make(api, body);
    if (!made) return SendError(*writer, made.error());
    SendJson(*writer, *std::move(made));
  });
}

void WriteModel(const ApiContext& api, JsonWriter& json) {
  json.BeginObject().Key("id").String(api.model).Key("object").String("model").Key("created").Int(
      api.created);
  json.Key("owned_by").String("hadal").Key("max_model_len").Int(api.context).EndObject();
}

Handler JsonHandler(std::string json) {
  return [json = std::move(json)](const HttpRequest&, const std::shared_ptr<ResponseWriter>& writer) {
    SendJson(*writer, json);
  };
}

/// The id as a path segment, percent-encoded as clients do.
std::string PathSegment(std::string_view id) {
  std::string segment;
  for (const unsigned char c : id) {
    const bool plain = std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~' || c == ':';
    segment += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return segment;
}

void AddModelRoutes(const ApiContext& api, std::vector<Route>& routes) {
  JsonWriter one, list;
  WriteModel(api, one);
  list.BeginObject().Key("object").String("list").Key("data").BeginArray();
  WriteModel(api, list);
  list.EndArray().EndObject();
  const std::string scope(kInferScope), prefix = "/v1/models/", model = one.Take(),
                                        encoded = PathSegment(api.model);
  routes.push_back({"GET", "/v1/models", scope, JsonHandler(list.Take())});
  routes.push_back({"GET", prefix + encoded, scope, JsonHandler(model)});
  // Some clients leave slashes as they are.
  const bool clean =
      std::ranges::all_of(api.model, [](unsigned char c) { return c > ' ' && c < 0x7F && c != '?'; });
  if (clean && encoded != api.model) routes.push_back({"GET", prefix + api.model, scope, JsonHandler(model)});
}

}  // namespace

std::vector<Route> OpenAiRoutes(const ApiContext& api) {
  HADAL_CHECK(api.backend != nullptr);
  const std::string scope(kInferScope);
  std::vector<Route> routes;
  AddModelRoutes(api, routes);
  routes.push_back({"POST", "/v1/chat/completions", scope, CallHandler(api, PlanChat)});
  routes.push_back({"POST", "/v1/completions", scope, CallHandler(api, PlanCompletion)});
  routes.push_back({"POST", "/v1/tokenize", scope, TextHandler(api, Tokenize)});
  routes.push_back({"POST", "/v1/detokenize", scope, TextHandler(api, Detokenize)});
  return routes;
}

}  // namespace hadal::openai
