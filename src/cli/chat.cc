#include "cli/chat.h"

#include "cli/json_lines.h"

namespace hadal {

void Chat::Reset() {
  messages_ = nlohmann::ordered_json::array();
  if (!system_.empty()) Add("system", system_);
}

Result<Answer> Chat::Turn(const ShowText& show) {
  nlohmann::ordered_json variables = variables_;
  variables["messages"] = messages_;
  variables["add_generation_prompt"] = true;
  ASSIGN_OR_RETURN(const std::string prompt, template_->RenderJson(JsonText(variables)));
  return generator_.Complete(prompt, /*add_bos=*/false, show);
}

Result<Answer> Chat::Say(std::string text, const ShowText& show) {
  if (!template_) return generator_.Complete(text, /*add_bos=*/true, show);
  Add("user", std::move(text));
  Result<Answer> answer = Turn(show);
  if (answer)
    Add("assistant", answer->text);
  else
    messages_.erase(messages_.size() - 1);
  return answer;
}

std::string FiguresLine(const Answer& answer) {
  const double seconds = answer.seconds - answer.prompt_seconds;
  const size_t further =
      answer.ids.empty() ? 0 : answer.ids.size() - 1;  // the first token comes with the prompt
  std::string line = fmt::format("prompt {} tokens ({} kept) in {:.2f} s; answer {} tokens in {:.2f} s",
                                 answer.prompt_tokens, answer.reused_tokens, answer.prompt_seconds,
                                 answer.ids.size(), seconds);
  if (further > 0 && seconds > 0)
    line += fmt::format(", {:.1f} tokens/s", static_cast<double>(further) / seconds);
  return line;
}

}  // namespace hadal
