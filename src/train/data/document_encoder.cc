#include "train/data/document_encoder.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "text/jinja/text_form.h"
#include "train/data/chat_line.h"
#include "train/data/token_shards.h"

namespace hadal::train {
namespace {

using Json = nlohmann::json;

std::string FingerprintOf(std::string_view text) {
  Checksum sum;
  sum.Add(std::as_bytes(std::span(text)));
  return fmt::format("{:016x}", sum.value());
}

/// The text of a special token: a string, or an object with `content`.
std::string SpecialToken(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return {};
  if (found->is_string()) return *found;
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string())
    return (*found)["content"];
  return {};
}

Result<int32_t> SpecialId(const Tokenizer& tokenizer, const Json& config, const char* key, const Path& path) {
  const std::string text = SpecialToken(config, key);
  if (text.empty()) return NotFound("{} names no '{}', which every document needs", path.string(), key);
  const std::optional<int32_t> id = tokenizer.IdOf(text);
  if (!id)
    return NotFound("{}: the '{}' is '{}', which tokenizer.json does not have", path.string(), key, text);
  return *id;
}

void Append(const std::vector<int32_t>& ids, uint8_t flags, TokenDocuments& out) {
  out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
  out.flags.insert(out.flags.end(), ids.size(), flags);
}

}  // namespace

Result<std::string> TokenizerFingerprint(const Path& folder) {
  ASSIGN_OR_RETURN(const std::string json, ReadFile(folder / "tokenizer.json"));
  return FingerprintOf(json);
}

Result<DocumentEncoder> DocumentEncoder::Load(const Path& folder) {
  ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(folder));
  DocumentEncoder made(std::move(tokenizer));
  ASSIGN_OR_RETURN(made.fingerprint_, TokenizerFingerprint(folder));
  const Path path = folder / "tokenizer_config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const Json config = Json::parse(text, nullptr, false);
  if (!config.is_object()) return InvalidArgument("{} is no JSON object", path.string());
  ASSIGN_OR_RETURN(made.end_, SpecialId(made.tokenizer_, config, "eos_token", path));
  if (const auto add = config.find("add_bos_token"); add != config.end() && *add == true) {
    ASSIGN_OR_RETURN(made.begin_, SpecialId(made.tokenizer_, config, "bos_token", path));
  }
  auto chat_template = ChatTemplate::Load(folder);
  if (!chat_template && chat_template.error().code != Code::kNotFound)
    return tl::unexpected(std::move(chat_template).error());
  std::string source;
  if (chat_template) {
    source = chat_template->source();
    made.format_ = DetectOutputFormat(source);
    made.chat_template_ = *std::move(chat_template);
  }
  made.style_fingerprint_ = FingerprintOf(text + source);
  return made;
}

Status DocumentEncoder::EncodeText(std::string_view text, TokenDocuments& out) const {
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_.Encode(text, {.parse_special = false}));
  const size_t first = out.tokens.size();
  if (begin_ >= 0) Append({begin_}, 0, out);
  Append(ids, kLearnt, out);
  Append({end_}, kLearnt, out);
  out.flags[first] |= kDocumentStart;
  return {};
}

Status DocumentEncoder::EncodeLine(std::string_view json, TokenDocuments& out) const {
  auto parsed = jinja::ParseJson(json);
  if (!parsed) return InvalidArgument("not JSON: {}", parsed.error().message);
  if (!parsed->is(jinja::Kind::kDict)) return InvalidArgument("it is no JSON object");
  const jinja::Dict& object = parsed->as_dict();
  const jinja::Value* text = object.Find("text");
  const jinja::Value* messages = object.Find("messages");
  if ((text != nullptr) == (messages != nullptr))
    return InvalidArgument("it has {} 'text' and 'messages', expected one of them",
                           text ? "both" : "neither of");
  if (text) {
    if (!text->is_string() || text->as_string().empty())
      return InvalidArgument("'text' is no text, or an empty one");
    return EncodeText(text->as_string(), out);
  }
  if (!chat_template_)
    return InvalidArgument("it is a chat, and the tokenizer's folder has no chat template to write it with");
  ASSIGN_OR_RETURN(ChatInput chat, ParseChatLine(object));
  const size_t before = out.tokens.size();
  const Status encoded = EncodeChat(std::move(chat), out);
  if (!encoded) {
    out.tokens.resize(before);
    out.flags.resize(before);
  }
  return encoded;
}

Status DocumentEncoder::EncodeChat(ChatInput chat, TokenDocuments& out) const {
  const ChatStyle style{tokenizer_, *chat_template_, format_};
  const bool sets_thinking =
      std::ranges::any_of(chat.variables, [](const auto& v) { return v.first == "thinking"; });
  ChatInput until = chat;
  until.messages.clear();
  RenderedChat document;
  std::vector<Turn> turns;
  for (size_t i = 0; i < chat.messages.size(); ++i) {
    ChatMessage& message = chat.messages[i];
    if (message.role != "assistant") {
      until.messages.push_back(std::move(message));
      continue;
    }
    if (i == 0) return InvalidArgument("its first message is the assistant's, who only answers");
    until.variables = chat.variables;
    if (!sets_thinking)
      until.variables.emplace_back("thinking",
                                   jinja::Value::Bool(message.reasoning && !message.reasoning->empty()));
    ASSIGN_OR_RETURN(const RenderedChat prompt, RenderChat(style, until, /*generation_prompt=*/true));
    until.messages.push_back(std::move(message));
    ASSIGN_OR_RETURN(RenderedChat through, RenderChat(style, until, /*generation_prompt=*/false));
    if (!through.text.starts_with(prompt.text))
      return InvalidArgument(
          "message {}: the chat template begins this turn otherwise than the prompt for it ends, so it "
          "cannot be learnt as it would be asked for",
          i + 1);
    if (!turns.empty() && !through.text.starts_with(document.text)) {
      RETURN_IF_ERROR(AppendChat(document, turns, out));
      turns.clear();
    }
    turns.push_back({prompt.text.size(), through.text.size()});
    document = std::move(through);
  }
  if (turns.empty()) return InvalidArgument("no message is the assistant's, so there is nothing to learn");
  return AppendChat(document, turns, out);
}

Status DocumentEncoder::AppendChat(const RenderedChat& rendered, const std::vector<Turn>& turns,
                                   TokenDocuments& out) const {
  const size_t first = out.tokens.size();
  size_t at = 0;
  for (size_t i = 0; i < turns.size(); ++i) {
    // Encoded apart, as they are in use: the prompt is given, the turn is made.
    ASSIGN_OR_RETURN(const auto prompt, EncodeParts(tokenizer_, rendered.Within(at, turns[i].begin)));
    ASSIGN_OR_RETURN(auto turn, EncodeParts(tokenizer_, rendered.Within(turns[i].begin, turns[i].end)));
    Append(prompt, 0, out);
    // What the template puts behind the end token is not the model's to write.
    const auto end = std::find(turn.rbegin(), turn.rend(), end_).base();
    const std::vector<int32_t> behind(end == turn.begin() ? turn.end() : end, turn.end());
    turn.resize(turn.size() - behind.size());
    const bool last = i + 1 == turns.size();
    if (last && (turn.empty() || turn.back() != end_)) turn.push_back(end_);
    Append(turn, kLearnt, out);
    if (!last) Append(behind, 0, out);
    at = turns[i].end;
  }
  out.flags[first] |= kDocumentStart;
  return {};
}

}  // namespace hadal::train
