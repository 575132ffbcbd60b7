#include "server/openai/generation_options.h"

#include <algorithm>
#include <charconv>
#include <random>

#include "engine/stop_strings.h"
#include "server/openai/response_format.h"

namespace hadal::openai {
namespace {

// 2^31 levels are more than any scheme of priorities needs.
constexpr int64_t kMaxPriority = (int64_t{1} << 31) - 1;

/// Fields that would change the answer, so that ignoring them would be a lie.
ApiStatus RefuseUnsupported(const Fields& fields) {
  if (fields.Find("chat_template"))
    return BadField("chat_template", "'chat_template' is the server's own and cannot be given by a request");
  if (fields.Find("prompt_logprobs"))
    return BadField("prompt_logprobs",
                    "'prompt_logprobs' is not supported; 'hadal logits' gives those of a text");
  if (fields.Find("functions") || fields.Find("function_call"))
    return BadField("functions",
                    "'functions' and 'function_call' are not supported; use 'tools' and 'tool_choice'");
  return {};
}

ApiStatus ReadStop(const Fields& fields, std::vector<std::string>& stops) {
  const Json* found = fields.Find("stop");
  if (!found) return {};
  std::string_view text;
  simdjson::dom::array items;
  if (!found->get(text)) {
    stops.emplace_back(text);
  } else if (!found->get(items)) {
    for (const Json item : items) {
      if (item.get(text)) return BadField("stop", "'stop' must hold strings; one is {}", KindOf(item));
      stops.emplace_back(text);
      if (stops.size() > static_cast<size_t>(kMaxStopStrings)) break;  // Validate refuses them
    }
  } else {
    return BadField("stop", "'stop' must be a string or an array of strings and is {}", KindOf(*found));
  }
  if (Status valid = ValidateStopStrings(stops); !valid) return BadField("stop", "{}", valid.error().message);
  return {};
}

ApiStatus ReadLogitBias(const Fields& fields, std::vector<std::pair<int32_t, float>>& bias) {
  const Json* found = fields.Find("logit_bias");
  if (!found) return {};
  ASSIGN_OR_RETURN(const Fields entries, Fields::Of(*found, "logit_bias"));
  for (const auto& [key, value] : entries.members()) {
    int32_t id = 0;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size())
      return BadField("logit_bias", "'logit_bias' must map token ids to numbers; '{}' is no token id",
                      key.substr(0, 64));
    double amount = 0;
    RETURN_IF_ERROR(entries.Take(key, amount));
    bias.emplace_back(id, static_cast<float>(std::clamp(amount, -1e30, 1e30)));
    if (static_cast<int64_t>(bias.size()) > kMaxLogitBiasEntries) break;  // Validate refuses them
  }
  return {};
}

ApiStatus ReadMaxTokens(const Fields& fields, int64_t& max_tokens) {
  int64_t limit = 0, completion_limit = 0;
  RETURN_IF_ERROR(fields.Take("max_tokens", limit, 1, kMaxMaxTokens));
  RETURN_IF_ERROR(fields.Take("max_completion_tokens", completion_limit, 1, kMaxMaxTokens));
  max_tokens = completion_limit > 0 ? completion_limit : limit;  // the newer name counts
  return {};
}

ApiStatus ReadSampling(const Fields& fields, const ApiContext& api, SamplingParams& params) {
  RETURN_IF_ERROR(fields.Take("temperature", params.temperature));
  RETURN_IF_ERROR(fields.Take("top_k", params.top_k));
  RETURN_IF_ERROR(fields.Take("top_p", params.top_p));
  RETURN_IF_ERROR(fields.Take("min_p", params.min_p));
  RETURN_IF_ERROR(fields.Take("repetition_penalty", params.repetition_penalty));
  RETURN_IF_ERROR(fields.Take("presence_penalty", params.presence_penalty));
  RETURN_IF_ERROR(fields.Take("frequency_penalty", params.frequency_penalty));
  RETURN_IF_ERROR(fields.Take("ignore_eos", params.ignore_eos));
  RETURN_IF_ERROR(ReadLogitBias(fields, params.logit_bias));
  RETURN_IF_ERROR(ReadStop(fields, params.stop));
  if (fields.Find("seed")) {
    int64_t seed = 0;
    RETURN_IF_ERROR(fields.Take("seed", seed));
    params.seed = static_cast<uint64_t>(seed);
  } else {
    std::random_device device;
    params.seed = (uint64_t{device()} << 32) | device();
  }
  params.max_tokens = 1;  // checked elsewhere
  if (Status valid = Validate(params, api.tokenizer.vocab_size()); !valid) {
    const std::string& message = valid.error().message;
    return BadField(message.substr(0, message.find(' ')), "{}",
                    message);  // sentences begin with the field's name
  }
  return {};
}

ApiStatus ReadStreaming(const Fields& fields, GenerationOptions& options) {
  RETURN_IF_ERROR(fields.Take("stream", options.stream));
  const Json* found = fields.Find("stream_options");
  if (!found) return {};
  if (!options.stream)
    return BadField("stream_options", "'stream_options' is only for calls with 'stream': true");
  ASSIGN_OR_RETURN(const Fields stream, Fields::Of(*found, "stream_options"));
  return stream.Take("include_usage", options.include_usage);
}

}  // namespace

ApiResult<GenerationOptions> ReadGenerationOptions(const Fields& fields, const ApiContext& api) {
  RETURN_IF_ERROR(RefuseUnsupported(fields));
  GenerationOptions options;
  RETURN_IF_ERROR(ReadResponseFormat(fields, options.output));
  options.sampling = api.defaults;
  RETURN_IF_ERROR(ReadSampling(fields, api, options.sampling));
  RETURN_IF_ERROR(ReadMaxTokens(fields, options.sampling.max_tokens));
  RETURN_IF_ERROR(fields.Take("n", options.n, 1, api.max_choices));
  RETURN_IF_ERROR(fields.Take("priority", options.priority, -kMaxPriority, kMaxPriority));
  RETURN_IF_ERROR(fields.Take("return_token_ids", options.return_token_ids));
  RETURN_IF_ERROR(fields.TakeIntegers("stop_token_ids", options.stop_token_ids, 0,
                                      api.tokenizer.vocab_size() - 1, kMaxStopTokenIds));
  RETURN_IF_ERROR(ReadStreaming(fields, options));
  return options;
}

}  // namespace hadal::openai
