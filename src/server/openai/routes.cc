#include "server/openai/routes.h"

#include <algorithm>
#include <ctime>

#include "base/check.h"
#include "server/api/chat_plan.h"
#include "server/api/handlers.h"
#include "server/api/random_hex.h"
#include "server/api/structured_output.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"
#include "server/openai/error_reply.h"
#include "server/openai/response.h"
#include "server/openai/tokenize.h"

namespace hadal::openai {
namespace {

// The default of OpenAI's completions; chats go on to the end of the context.
constexpr int64_t kCompletionTokens = 16;

OpenAiResponse::Options ResponseOptions(const ApiContext& api, const GenerationOptions& options,
                                        std::string_view kind) {
  return {.id = fmt::format("{}-{}", kind, RandomHex()),
          .created = static_cast<int64_t>(std::time(nullptr)),
          .model = api.model,
          .logprobs = options.logprobs >= 0,
          .token_ids = options.return_token_ids,
          .usage_in_stream = options.include_usage};
}

ApiResult<CallPlan> PlanChat(const ApiContext& api, const Fields& fields) {
  ASSIGN_OR_RETURN(ChatRequest request, ReadChatRequest(fields, api));
  ASSIGN_OR_RETURN(CallPlan plan, PlanChatCall(api, std::move(request.options), request.chat));
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
  ASSIGN_OR_RETURN(plan.form, CompileOutput(api, plan.options, Thinking::kNone));
  plan.response = MakeCompletionResponse(ResponseOptions(api, plan.options, "cmpl"), api.tokenizer);
  return plan;
}

void WriteModel(const ApiContext& api, JsonWriter& json) {
  json.BeginObject().Key("id").String(api.model).Key("object").String("model").Key("created").Int(
      api.created);
  json.Key("owned_by").String("hadal").Key("max_model_len").Int(api.context).EndObject();
}

Handler FixedHandler(std::string json) {
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
  routes.push_back({"GET", "/v1/models", scope, FixedHandler(list.Take())});
  routes.push_back({"GET", prefix + encoded, scope, FixedHandler(model)});
  // Some clients leave slashes as they are.
  const bool clean =
      std::ranges::all_of(api.model, [](unsigned char c) { return c > ' ' && c < 0x7F && c != '?'; });
  if (clean && encoded != api.model)
    routes.push_back({"GET", prefix + api.model, scope, FixedHandler(model)});
}

}  // namespace

std::vector<Route> OpenAiRoutes(const ApiContext& api) {
  HADAL_CHECK(api.backend != nullptr);
  const std::string scope(kInferScope);
  std::vector<Route> routes;
  AddModelRoutes(api, routes);
  routes.push_back({"POST", "/v1/chat/completions", scope, CallHandler(api, PlanChat, OpenAiError)});
  routes.push_back({"POST", "/v1/completions", scope, CallHandler(api, PlanCompletion, OpenAiError)});
  routes.push_back({"POST", "/v1/tokenize", scope, JsonHandler(api, Tokenize, OpenAiError)});
  routes.push_back({"POST", "/v1/detokenize", scope, JsonHandler(api, Detokenize, OpenAiError)});
  return routes;
}

}  // namespace hadal::openai
