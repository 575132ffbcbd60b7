#include "server/api/choice_text.h"

#include "text/utf8.h"

namespace hadal::api {
namespace {

void Append(OutputParser::Delta more, OutputParser::Delta& all) {
  all.reasoning += more.reasoning;
  all.content += more.content;
  for (ToolCall& call : more.calls) all.calls.push_back(std::move(call));
}

}  // namespace

ChoiceText::ChoiceText(const Tokenizer& tokenizer, StopStrings stops, const OutputParser::Options& options)
    : decoder_(tokenizer, /*skip_special=*/true), stops_(std::move(stops)), parser_(options) {}

ChoiceText::Out ChoiceText::Push(int32_t token) {
  auto piece = decoder_.Push(token);
  StopStrings::Out text = stops_.Push(piece ? *piece : decoder_.Finish().append(kReplacementCharacter));
  Out out{parser_.Push(text.text), text.stopped, text.stop_index};
  if (text.stopped) Append(parser_.Finish(), out.delta);
  return out;
}

OutputParser::Delta ChoiceText::Finish() {
  StopStrings::Out text = stops_.Push(decoder_.Finish());
  OutputParser::Delta delta = parser_.Push(text.text + stops_.Flush());
  Append(parser_.Finish(), delta);
  return delta;
}

}  // namespace hadal::api
