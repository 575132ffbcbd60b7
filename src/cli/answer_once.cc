#include <nlohmann/json.hpp>

#include "cli/answer_printer.h"
#include "cli/chat.h"
#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace hadal {
namespace {

Status PrintJson(const Answer& answer, std::optional<uint64_t> seed) {
  nlohmann::ordered_json json{{"text", answer.text}};
  if (!answer.thought.empty()) json["reasoning"] = answer.thought;
  if (!answer.ids.empty() || answer.generated_tokens == 0) json["ids"] = answer.ids;
  json["finish_reason"] = answer.finish_reason;
  json["prompt_tokens"] = answer.prompt_tokens;
  json["generated_tokens"] = answer.generated_tokens;
  json["seconds"] = answer.seconds;
  if (seed) json["seed"] = *seed;
  return Print(JsonText(json) + "\n");
}

}  // namespace

Result<int> AnswerOnce(Conversation& conversation, const std::string& text, bool json,
                       std::optional<uint64_t> seed, bool verbose) {
  AnswerPrinter printer;
  const Result<Answer> answer = conversation.Say(text, [&](std::string_view piece, bool is_thought) {
    return json ? Status() : printer.Show(piece, is_thought);
  });
  RETURN_IF_ERROR(printer.Finish());
  if (!answer) return tl::unexpected(answer.error());
  RETURN_IF_ERROR(json ? PrintJson(*answer, seed) : Print("\n"));
  RETURN_IF_ERROR(FlushOutput());
  if (verbose) PrintNote(FiguresLine(*answer));
  if (answer->finish_reason == "context")
    PrintNote("note: the answer ends where the context does; --context N makes it longer");
  return answer->finish_reason == "interrupted" ? kExitWarning : kExitOk;
}

}  // namespace hadal
