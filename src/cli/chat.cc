#include "cli/chat.h"

#include "cli/json_lines.h"

namespace hadal {

namespace {

nlohmann::ordered_json Message(const char* role, const std::string& text) {
  return {{"role", role}, {"content", text}};
}

}  // namespace

void TerminalChat::Reset() {
  messages_ = nlohmann::ordered_json::array();
  if (!system_.empty()) messages_.push_back(Message("system", system_));
}

Result<std::string> TerminalChat::Prompt(const std::string& text) const {
  if (!template_) return text;
  nlohmann::ordered_json variables = variables_;
  variables["messages"] = messages_;
  variables["messages"].push_back(Message("user", text));
  variables["add_generation_prompt"] = true;
  return template_->RenderJson(JsonText(variables));
}

Result<Answer> TerminalChat::Say(Generator& generator, const std::string& text, const ShowText& show) {
  ASSIGN_OR_RETURN(const std::string prompt, Prompt(text));
  ASSIGN_OR_RETURN(Answer answer, generator.Complete(prompt, /*add_bos=*/!template_, show));
  if (template_) {
    messages_.push_back(Message("user", text));
    messages_.push_back(Message("assistant", answer.text));
  }
  return answer;
}

std::string FiguresLine(const Answer& answer) {
  const double seconds = answer.seconds - answer.prompt_seconds;
  const int64_t further = answer.generated_tokens - 1;  // the first token comes with the prompt
  std::string line = fmt::format("prompt {} tokens ({} kept) in {:.2f} s; answer {} tokens in {:.2f} s",
                                 answer.prompt_tokens, answer.reused_tokens, answer.prompt_seconds,
                                 answer.generated_tokens, seconds);
  if (further > 0 && seconds > 0)
    line += fmt::format(", {:.1f} tokens/s", static_cast<double>(further) / seconds);
  return line;
}

}  // namespace hadal
