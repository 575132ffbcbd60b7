#include "ops/stream_event.h"

namespace hadal {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr size_t kMostSentence = 300;

bool HasText(const object& from, const char* name) {
  std::string_view text;
  return !from[name].get(text) && !text.empty();
}

void TakeNumber(const object& from, const char* name, int64_t& value) {
  int64_t number = 0;
  if (!from[name].get(number) && number >= 0) value = number;
}

/// A chat's piece is in "delta", a completion's beside the index.
void ReadChoice(const object& choice, StreamEvent& event) {
  object delta;
  if (!choice["delta"].get(delta)) {
    for (const char* name : {"content", "reasoning_content", "reasoning"}) event.text |= HasText(delta, name);
    simdjson::dom::array calls;
    event.text |= !delta["tool_calls"].get(calls) && calls.size() > 0;
  }
  event.text |= HasText(choice, "text");
  event.finished |= HasText(choice, "finish_reason");
  simdjson::dom::array ids;
  if (!choice["token_ids"].get(ids)) event.token_ids += static_cast<int64_t>(ids.size());
}

void ReadUsage(const object& usage, TokenUsage& into) {
  TakeNumber(usage, "prompt_tokens", into.prompt);
  TakeNumber(usage, "completion_tokens", into.generated);
  object details;
  if (!usage["prompt_tokens_details"].get(details)) TakeNumber(details, "cached_tokens", into.cached);
}

/// {"error":{"message":...}}, {"error":"..."}, {"object":"error","message":...}, {"detail":...}.
std::string SentenceOf(const object& root) {
  std::string_view text;
  object error;
  if (!root["error"].get(error) && !error["message"].get(text)) return std::string(text);
  if (!root["error"].get(text)) return std::string(text);
  if (!root["message"].get(text)) return std::string(text);
  element detail;
  if (!root["detail"].get(detail)) return simdjson::minify(detail);
  return {};
}

std::string Shown(std::string text) {
  if (text.size() > kMostSentence) text.resize(kMostSentence);
  while (!simdjson::validate_utf8(text)) text.pop_back();
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  for (size_t at; (at = text.find("\xc2")) != std::string::npos && at + 1 < text.size() &&
                  static_cast<unsigned char>(text[at + 1]) < 0xa0;)
    text.replace(at, 2, " ");  // U+0080 to U+009F are commands to a terminal too
  return text;
}

}  // namespace

Result<StreamEvent> StreamEventParser::Parse(std::string_view data) {
  object root;
  if (parser_.parse(data.data(), data.size()).get(root))
    return DataLoss("an event of the stream is not a JSON object: {}",
                    Shown(std::string(data.substr(0, 80))));
  StreamEvent event;
  element error;
  std::string_view kind;
  const bool failed =
      (!root["error"].get(error) && !error.is_null()) || (!root["object"].get(kind) && kind == "error");
  if (failed) {
    event.error = Shown(SentenceOf(root));
    if (event.error.empty()) event.error = "an error without a message";
    return event;
  }
  simdjson::dom::array choices;
  if (!root["choices"].get(choices)) {
    for (const element item : choices) {
      object choice;
      if (!item.get(choice)) ReadChoice(choice, event);
    }
  }
  object usage;
  if (!root["usage"].get(usage)) ReadUsage(usage, event.usage);
  return event;
}

std::string RefusalText(std::string_view body) {
  simdjson::dom::parser parser;
  object root;
  std::string sentence;
  if (!parser.parse(body.data(), body.size()).get(root)) sentence = SentenceOf(root);
  return Shown(sentence.empty() ? std::string(body.substr(0, kMostSentence)) : sentence);
}

}  // namespace hadal
