#include "cli/remote_answer.h"

#include <algorithm>

#include "cli/json_lines.h"
#include "cli/terminal.h"

namespace hadal {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostRefusalBytes = size_t{64} << 10;
constexpr size_t kMostSentence = 500;

/// The member of that name if it is a text, else nothing.
std::string TextOf(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>()
                                                                           : std::string();
}

int64_t NumberOf(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() && found->is_number_integer() ? found->get<int64_t>()
                                                                                   : 0;
}

/// What a body says in one line: OpenAI's error.message, OAuth's error_description, else its beginning.
std::string MessageOf(std::string_view body) {
  std::string text(body);
  if (const auto json = ParseJsonText(text); json && json->is_object()) {
    const auto error = json->find("error");
    if (error != json->end() && error->is_object())
      text = TextOf(*error, "message");
    else if (std::string said = TextOf(*json, "error_description"); !said.empty())
      text = said;
    else if (said = TextOf(*json, "message"); !said.empty())
      text = said;
  }
  text = WithoutControls(text.substr(0, kMostSentence));
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (text.ends_with(' ') || text.ends_with('.')) text.pop_back();
  return text.empty() ? "it says nothing" : text;
}

}  // namespace

tl::unexpected<Error> RefusalOf(int http_status, std::string_view body) {
  const std::string said = MessageOf(body);
  if (http_status == 401)
    return PermissionDenied(
        "the service wants a token that it knows ({}); give one with --token-file or HADAL_TOKEN, "
        "'hadal token issue --client NAME --scope infer' prints one there",
        said);
  if (http_status == 403)
    return PermissionDenied("the token may not do this ({}); it needs the scope infer", said);
  if (http_status == 429 || http_status == 503)
    return Unavailable("the service is busy or not ready ({}: {}); try again later", http_status, said);
  if (http_status == 404) return NotFound("the service answers 404: {}", said);
  return MakeError(http_status < 500 ? Code::kInvalidArgument : Code::kUnavailable,
                   "the service answers {}: {}", http_status, said);
}

void RemoteAnswer::Begin(int http_status) {
  http_status_ = http_status;
  refusal_.clear();
}

bool RemoteAnswer::Feed(std::string_view bytes) {
  if (http_status_ != 200) {
    refusal_.append(bytes.substr(0, kMostRefusalBytes - std::min(refusal_.size(), kMostRefusalBytes)));
    return true;
  }
  const Status fed = parser_.Feed(bytes, [this](std::string_view data) { return OnEvent(data); });
  if (status_ && !fed) status_ = fed;
  return status_.has_value();
}

bool RemoteAnswer::OnEvent(std::string_view data) {
  if (data == "[DONE]") {
    ended_ = true;
    return true;
  }
  const auto event = ParseJsonText(std::string(data));
  if (!event || !event->is_object()) {
    status_ = DataLoss("the service sends what is no event of a chat completion: '{}'",
                       WithoutControls(data.substr(0, 64)));
    return false;
  }
  if (event->contains("error")) {
    status_ = Unavailable("the service ended the answer: {}", MessageOf(data));
    return false;
  }
  if (const auto usage = event->find("usage"); usage != event->end() && usage->is_object()) {
    answer_.prompt_tokens = NumberOf(*usage, "prompt_tokens");
    answer_.generated_tokens = NumberOf(*usage, "completion_tokens");
    if (const auto details = usage->find("prompt_tokens_details"); details != usage->end())
      answer_.reused_tokens = NumberOf(*details, "cached_tokens");
  }
  if (const auto choices = event->find("choices");
      choices != event->end() && choices->is_array() && !choices->empty())
    status_ = OnDelta(choices->front());
  return status_.has_value();
}

Status RemoteAnswer::OnDelta(const Json& choice) {
  if (!choice.is_object()) return DataLoss("the service sends a choice that is no object");
  if (std::string reason = TextOf(choice, "finish_reason"); !reason.empty()) answer_.finish_reason = reason;
  const auto delta = choice.find("delta");
  if (delta == choice.end()) return {};
  std::string thought = TextOf(*delta, "reasoning_content");
  if (thought.empty()) thought = TextOf(*delta, "reasoning");
  const std::string text = TextOf(*delta, "content");
  if (thought.empty() && text.empty()) return {};
  if (answer_.prompt_seconds == 0)
    answer_.prompt_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  answer_.thought += thought;
  answer_.text += text;
  if (!thought.empty()) RETURN_IF_ERROR(show_(thought, /*is_thought=*/true));
  return text.empty() ? Status() : show_(text, /*is_thought=*/false);
}

Result<Answer> RemoteAnswer::Finish(bool interrupted) && {
  if (!interrupted && http_status_ != 200) return RefusalOf(http_status_, refusal_);
  if (!interrupted && !ended_ && answer_.finish_reason.empty())
    return DataLoss("the service ended the stream before the answer; its log says why");
  if (interrupted) answer_.finish_reason = "interrupted";
  answer_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  return std::move(answer_);
}

}  // namespace hadal
