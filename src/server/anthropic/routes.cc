#include "server/anthropic/routes.h"

#include "base/check.h"
#include "server/anthropic/error_reply.h"
#include "server/anthropic/messages_request.h"
#include "server/anthropic/messages_response.h"
#include "server/api/chat_plan.h"
#include "server/api/handlers.h"
#include "server/api/json_writer.h"
#include "server/api/random_hex.h"

namespace hadal::anthropic {
namespace {

ApiResult<CallPlan> PlanMessages(const ApiContext& api, const Fields& fields) {
  ASSIGN_OR_RETURN(MessagesRequest request, ReadMessagesRequest(fields, api));
  ASSIGN_OR_RETURN(CallPlan plan, PlanChatCall(api, std::move(request.options), request.chat));
  plan.response = MakeMessagesResponse("msg_" + RandomHex(), api.model);
  return plan;
}

ApiResult<std::string> CountTokens(const ApiContext& api, const Fields& fields) {
  OutputSpec form;  // no tokens of it are in the prompt
  ASSIGN_OR_RETURN(const Chat chat, ReadMessagesChat(fields, api, form));
  ASSIGN_OR_RETURN(const ChatPrompt prompt, EncodeClientsChat(api, chat));
  JsonWriter json;
  json.BeginObject().Key("input_tokens").Int(static_cast<int64_t>(prompt.ids.size())).EndObject();
  return json.Take();
}

}  // namespace

std::vector<Route> AnthropicRoutes(const ApiContext& api) {
  HADAL_CHECK(api.backend != nullptr);
  const std::string scope(kInferScope);
  return {
      {"POST", "/v1/messages", scope, CallHandler(api, PlanMessages, AnthropicError), 0, AnthropicRefusal},
      {"POST", "/v1/messages/count_tokens", scope, JsonHandler(api, CountTokens, AnthropicError), 0,
       AnthropicRefusal}};
}

}  // namespace hadal::anthropic
