#include "engine/sampling_params.h"

#include <algorithm>

#include "base/check.h"
#include "engine/stop_strings.h"

namespace hadal {
namespace {

Status CheckRange(const char* name, double value, double low, double high) {
  // Written so that NaN fails.
  if (value >= low && value <= high) return {};
  return InvalidArgument("{} is {}; it must be a number from {} to {}", name, value, low, high);
}

Status CheckLogitBias(const std::vector<std::pair<int32_t, float>>& bias, int64_t vocab_size) {
  if (static_cast<int64_t>(bias.size()) > kMaxLogitBiasEntries) {
    return InvalidArgument("logit_bias has {} entries; at most {} are allowed", bias.size(),
                           kMaxLogitBiasEntries);
  }
  std::vector<int32_t> ids;
  ids.reserve(bias.size());
  for (const auto& [id, value] : bias) {
    if (id < 0 || id >= vocab_size) {
      return InvalidArgument("logit_bias names token {}; the vocabulary has ids 0 to {}", id, vocab_size - 1);
    }
    if (!(value >= -kMaxLogitBias && value <= kMaxLogitBias)) {
      return InvalidArgument("logit_bias of token {} is {}; it must be a number from {} to {}", id, value,
                             -kMaxLogitBias, kMaxLogitBias);
    }
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end())
    return InvalidArgument("logit_bias names token {} twice; give each token once", *twice);
  return {};
}

}  // namespace

Status Validate(const SamplingParams& params, int64_t vocab_size) {
  HADAL_CHECK(vocab_size >= 1, "vocabulary of {} tokens", vocab_size);
  RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0, kMaxTemperature));
  if (params.top_k < -1) {
    return InvalidArgument("top_k is {}; it must be at least 1, or 0 or -1 for no limit", params.top_k);
  }
  RETURN_IF_ERROR(CheckRange("top_p", params.top_p, 0, 1));
  RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1));
  RETURN_IF_ERROR(CheckRange("repetition_penalty", params.repetition_penalty, kMinRepetitionPenalty,
                             kMaxRepetitionPenalty));
  RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -kMaxPenalty, kMaxPenalty));
  RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -kMaxPenalty, kMaxPenalty));
  RETURN_IF_ERROR(CheckLogitBias(params.logit_bias, vocab_size));
  RETURN_IF_ERROR(ValidateStopStrings(params.stop));
  if (params.max_tokens < 1 || params.max_tokens > kMaxMaxTokens) {
    return InvalidArgument("max_tokens is {}; it must be from 1 to {}", params.max_tokens, kMaxMaxTokens);
  }
  return {};
}

}  // namespace hadal
