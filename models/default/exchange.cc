#include "exchange.h"

#include <cctype>

#include "base/checksum.h"

namespace hadal::default_model {
namespace {

/// "What is" becomes "what is", but "JSON" stays.
std::string SmallFirst(std::string text) {
  if (text.size() > 1 && std::isupper(static_cast<unsigned char>(text[0])) &&
      !std::isupper(static_cast<unsigned char>(text[1])))
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

}  // namespace

std::string Typed(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  while (!text.empty() && (text.back() == '?' || text.back() == '.' || text.back() == '!')) text.pop_back();
  return text;
}

Json UserSays(std::string text) { return {{"role", "user"}, {"content", std::move(text)}}; }
Json AssistantSays(std::string text) { return {{"role", "assistant"}, {"content", std::move(text)}}; }

Exchange AskAndAnswer(std::string category, std::string key, std::string question, std::string answer) {
  return {std::move(category),
          std::move(key),
          {UserSays(std::move(question)), AssistantSays(std::move(answer))},
          {}};
}

Split SplitOf(std::string_view key) {
  Checksum sum;
  sum.Add(std::as_bytes(std::span(key.data(), key.size())));
  // The high bits are the well mixed ones.
  return (sum.value() >> 40) % 12 == 0 ? Split::kHeldOut : Split::kTrain;
}

std::string Fill(std::string_view text, std::initializer_list<std::string_view> values) {
  std::string out;
  auto value = values.begin();
  for (size_t at = 0; at < text.size(); ++at) {
    if (text.substr(at, 2) == "{}" && value != values.end()) {
      out += *value++;
      ++at;
    } else {
      out += text[at];
    }
  }
  return out;
}

std::string Reword(const std::string& question, Dice& dice, int64_t& wording) {
  wording = dice.Below(12);
  switch (wording) {
    case 0:
      return "Hello. " + question;
    case 1:
      return "A question: " + SmallFirst(question);
    case 2:
      return "Tell me: " + SmallFirst(question);
    case 3:
      return question + " Thank you.";
    case 4:
      return "I am new here. " + question;
    case 5:
      return "Please help me. " + question;
    case 6:
      return "And " + SmallFirst(question);
    case 7:
    case 8:
      return Typed(question);
    default:
      return question;
  }
}

}  // namespace hadal::default_model
