#include "server/openai/completion_request.h"

namespace hadal::openai {
namespace {

ApiResult<std::vector<int32_t>> ReadIds(const ApiContext& api, simdjson::dom::array items,
                                        std::string_view place) {
  std::vector<int32_t> ids;
  for (const Json item : items) {
    RETURN_IF_ERROR(CheckTokenId(api, item, place, ids.emplace_back()));
    if (static_cast<int64_t>(ids.size()) > api.context)
      return tl::unexpected(
          ApiError(400, fmt::format("'{}' has more tokens than the context of {} holds", place, api.context),
                   "prompt", "context_length_exceeded"));
  }
  if (ids.empty()) return BadField("prompt", "'{}' is empty; it needs at least one token", place);
  return ids;
}

/// A prompt that is a text or an array of ids.
ApiResult<std::vector<int32_t>> ReadPrompt(const ApiContext& api, Json value, std::string_view place,
                                           bool add_bos) {
  std::string_view text;
  simdjson::dom::array items;
  if (!value.get(items)) return ReadIds(api, items, place);
  if (value.get(text))
    return BadField("prompt", "'{}' must be a string or an array of token ids and is {}", place,
                    KindOf(value));
  if (text.empty()) return BadField("prompt", "'{}' is empty", place);
  return EncodeTextPrompt(api, text, add_bos);
}

/// A string, an array of strings, of ids, or of arrays of ids.
ApiStatus ReadPrompts(const Fields& fields, const ApiContext& api, CompletionRequest& request) {
  const Json* found = fields.Find("prompt");
  if (!found) return BadField("prompt", "'prompt' is missing or null");
  bool add_bos = true;
  RETURN_IF_ERROR(fields.Take("add_special_tokens", add_bos));
  simdjson::dom::array items;
  const bool is_list = !found->get(items) && items.size() > 0 && !items.at(0).is_number();
  if (!is_list) {
    ASSIGN_OR_RETURN(request.prompts.emplace_back(), ReadPrompt(api, *found, "prompt", add_bos));
    return {};
  }
  for (const Json item : items) {
    const size_t index = request.prompts.size();
    if (static_cast<int64_t>(index + 1) * request.options.n > api.max_choices)
      return BadField("prompt", "prompts times n are more than {}", api.max_choices);
    ASSIGN_OR_RETURN(request.prompts.emplace_back(),
                     ReadPrompt(api, item, fmt::format("prompt[{}]", index), add_bos));
  }
  return {};
}

/// `best_of` other than n would mean choices that nobody sees.
ApiStatus CheckBestOf(const Fields& fields, const GenerationOptions& options) {
  int64_t best_of = options.n;
  RETURN_IF_ERROR(fields.Take("best_of", best_of));
  if (best_of == options.n) return {};
  return BadField("best_of", "'best_of' is {} and 'n' {}; it is not supported, leave it out", best_of,
                  options.n);
}

ApiStatus ReadEcho(const Fields& fields, const ApiContext& api, CompletionRequest& request) {
  bool echo = false;
  RETURN_IF_ERROR(fields.Take("echo", echo));
  if (!echo) return {};
  if (request.options.logprobs >= 0)
    return BadField("echo", "'echo' with 'logprobs' is not supported; 'hadal logits' gives those of a text");
  for (const std::vector<int32_t>& prompt : request.prompts) {
    ASSIGN_OR_RETURN(std::string text, api.tokenizer.Decode(prompt, /*skip_special=*/true));
    request.echoes.push_back(std::move(text));
  }
  return {};
}

}  // namespace

ApiStatus CheckTokenId(const ApiContext& api, Json value, std::string_view place, int32_t& id) {
  int64_t number = 0;
  if (value.type() != simdjson::dom::element_type::INT64 || value.get(number))
    return BadField(std::string(place), "'{}' must hold token ids and has {}", place, KindOf(value));
  const bool fits = number >= 0 && number < api.tokenizer.vocab_size();
  if (!fits || !api.tokenizer.TokenBytes(static_cast<int32_t>(number)))
    return BadField(std::string(place),
                    "'{}' has the id {}, which names no token; the vocabulary has {} ids from 0", place,
                    number, api.tokenizer.vocab_size());
  id = static_cast<int32_t>(number);
  return {};
}

ApiResult<std::vector<int32_t>> EncodeTextPrompt(const ApiContext& api, std::string_view text, bool add_bos) {
  auto ids = api.tokenizer.Encode(text);
  if (!ids) return tl::unexpected(ClientsFault(std::move(ids).error()));
  if (add_bos && api.bos >= 0 && (ids->empty() || ids->front() != api.bos))
    ids->insert(ids->begin(), api.bos);
  return *std::move(ids);
}

ApiResult<CompletionRequest> ReadCompletionRequest(const Fields& fields, const ApiContext& api) {
  RETURN_IF_ERROR(CheckModel(fields, api));
  CompletionRequest request;
  ASSIGN_OR_RETURN(request.options, ReadGenerationOptions(fields, api));
  RETURN_IF_ERROR(CheckBestOf(fields, request.options));
  if (fields.Find("suffix"))
    return BadField("suffix", "'suffix' is not supported; write the prompt's markers yourself");
  int64_t logprobs = -1;
  RETURN_IF_ERROR(fields.Take("logprobs", logprobs, 0, kMaxTopLogprobs));
  request.options.logprobs = static_cast<int>(logprobs);
  RETURN_IF_ERROR(ReadPrompts(fields, api, request));
  RETURN_IF_ERROR(ReadEcho(fields, api, request));
  return request;
}

}  // namespace hadal::openai
