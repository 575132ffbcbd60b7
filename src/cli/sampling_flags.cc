#include "cli/sampling_flags.h"

#include <charconv>
#include <random>
#include <system_error>

#include "cli/flags.h"
#include "cli/json_lines.h"
#include "cli/settings.h"

namespace hadal {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

/// Takes `key` into `field` if it is there and not null.
template <typename T>
Status TakeNumber(const nlohmann::ordered_json& config, const char* key, T& field) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return {};
  const bool fits = std::is_integral_v<T> ? found->is_number_integer() : found->is_number();
  if (!fits) return InvalidArgument("'{}' is {}, expected a number", key, JsonText(*found).substr(0, 64));
  field = found->get<T>();
  return {};
}

/// What the model's makers recommend.
Status TakeRecommendations(const nlohmann::ordered_json& config, SamplingParams& params) {
  if (!config.is_object()) return InvalidArgument("expected a JSON object");
  RETURN_IF_ERROR(TakeNumber(config, "temperature", params.temperature));
  RETURN_IF_ERROR(TakeNumber(config, "top_k", params.top_k));
  RETURN_IF_ERROR(TakeNumber(config, "top_p", params.top_p));
  RETURN_IF_ERROR(TakeNumber(config, "min_p", params.min_p));
  RETURN_IF_ERROR(TakeNumber(config, "repetition_penalty", params.repetition_penalty));
  if (const auto sample = config.find("do_sample");
      sample != config.end() && sample->is_boolean() && !sample->get<bool>())
    params.temperature = 0;
  return {};
}

Result<SamplingParams> Recommended(const Path& folder, int64_t vocab_size) {
  SamplingParams params;
  const Path path = folder / "generation_config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return params;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  const auto config = ParseJsonText(text);
  Status status = config ? TakeRecommendations(*config, params) : tl::unexpected(config.error());
  if (status) status = Validate(params, vocab_size);
  if (!status) return MakeError(status.error().code, "{}: {}", path.string(), status.error().message);
  return params;
}

}  // namespace

Result<std::pair<int32_t, float>> ParseBias(const std::string& text) {
  std::pair<int32_t, float> bias;
  const char* end = text.data() + text.size();
  const auto id = std::from_chars(text.data(), end, bias.first);
  if (id.ec == std::errc() && id.ptr != end && *id.ptr == ':') {
    const char* number = id.ptr + 1;
    if (number != end && *number == '+') ++number;
    const auto value = std::from_chars(number, end, bias.second);
    if (value.ec == std::errc() && value.ptr == end) return bias;
  }
  return InvalidArgument("--logit-bias takes ID:BIAS, such as 42:-100, and is '{}'", text.substr(0, 64));
}

void AddSamplingFlags(CLI::App& verb, SamplingFlags& flags) {
  Setting(AddNumber(verb, "--temperature", flags.temperature, 0, kMaxTemperature,
                    "0: always the likeliest token"),
          "sampling.temperature");
  Setting(AddNumber(verb, "--top-k", flags.top_k, -1, 1e9, "Choose among the K likeliest tokens; 0: off"),
          "sampling.top_k");
  Setting(AddNumber(verb, "--top-p", flags.top_p, 0, 1,
                    "Choose among the likeliest tokens that hold this probability"),
          "sampling.top_p");
  Setting(AddNumber(verb, "--min-p", flags.min_p, 0, 1,
                    "Leave out tokens below this share of the best one's probability"),
          "sampling.min_p");
  Setting(AddNumber(verb, "--repetition-penalty", flags.repetition_penalty, kMinRepetitionPenalty,
                    kMaxRepetitionPenalty, "Above 1: against tokens of prompt and answer"),
          "sampling.repetition_penalty");
  Setting(AddNumber(verb, "--presence-penalty", flags.presence_penalty, -kMaxPenalty, kMaxPenalty,
                    "Above 0: against tokens that the answer has"),
          "sampling.presence_penalty");
  Setting(AddNumber(verb, "--frequency-penalty", flags.frequency_penalty, -kMaxPenalty, kMaxPenalty,
                    "The same, times how often it has them"),
          "sampling.frequency_penalty");
  Setting(AddNumber(verb, "--max-tokens", flags.max_tokens, 1, static_cast<double>(kMaxMaxTokens),
                    "End the answer after N tokens (without it where the context ends)"),
          "sampling.max_tokens");
  Setting(verb.add_option("--seed", flags.seed,
                          "The same seed, prompt and flags give the same answer; without it a new one")
              ->type_name("N"),
          "sampling.seed");
  verb.add_option("--logit-bias", flags.logit_bias, "Add BIAS to a token's logit; may be given again")
      ->type_name("ID:BIAS")
      ->allow_extra_args(false);
  verb.add_option("--stop", flags.stop, "End the answer before this text; may be given again")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  verb.add_flag("--greedy", flags.greedy, "Always the likeliest token: temperature 0");
  verb.add_flag("--ignore-eos", flags.ignore_eos, "Go on past the token that ends an answer");
}

Result<SamplingParams> ToSamplingParams(const SamplingFlags& flags, const Path& folder, int64_t vocab_size) {
  ASSIGN_OR_RETURN(SamplingParams params, Recommended(folder, vocab_size));
  const auto take = [](const auto& flag, auto& field) {
    if (flag) field = *flag;
  };
  take(flags.temperature, params.temperature);
  take(flags.top_k, params.top_k);
  take(flags.top_p, params.top_p);
  take(flags.min_p, params.min_p);
  take(flags.repetition_penalty, params.repetition_penalty);
  params.presence_penalty = flags.presence_penalty;
  params.frequency_penalty = flags.frequency_penalty;
  params.max_tokens = flags.max_tokens.value_or(kMaxMaxTokens);
  if (flags.greedy) params.temperature = 0;
  params.ignore_eos = flags.ignore_eos;
  params.stop = flags.stop;
  for (const std::string& text : flags.logit_bias) {
    ASSIGN_OR_RETURN(const auto bias, ParseBias(text));
    params.logit_bias.push_back(bias);
  }
  params.seed = flags.seed ? *flags.seed : std::random_device()();
  RETURN_IF_ERROR(Validate(params, vocab_size));
  return params;
}

}  // namespace hadal
