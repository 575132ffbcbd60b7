#include "server/api/chat_plan.h"

#include "server/api/structured_output.h"

namespace hadal::api {

ApiResult<ChatPrompt> EncodeClientsChat(const ApiContext& api, const Chat& chat) {
  auto prompt = EncodeChat(api, chat);
  if (!prompt) return tl::unexpected(ClientsFault(std::move(prompt).error()));
  if (prompt->ids.empty()) return BadField("messages", "the messages make an empty prompt");
  return *std::move(prompt);
}

ApiResult<CallPlan> PlanChatCall(const ApiContext& api, GenerationOptions options, const Chat& chat) {
  ASSIGN_OR_RETURN(ChatPrompt prompt, EncodeClientsChat(api, chat));
  CallPlan plan{.options = std::move(options)};
  plan.parser = {.format = api.format,
                 .inside_thinking = EndsInsideThinking(prompt.text),
                 .parse_tools = !chat.tools.empty()};
  ASSIGN_OR_RETURN(const int64_t max_tokens,
                   FitMaxTokens(plan.options.sampling.max_tokens, 0, prompt.ids.size(), api));
  plan.prompts.push_back({std::move(prompt.ids), max_tokens, {}});
  ASSIGN_OR_RETURN(plan.form, CompileOutput(api, plan.options, ThinkingAfter(api.format, prompt.text)));
  return plan;
}

}  // namespace hadal::api
