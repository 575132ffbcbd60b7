// Flags of how tokens are chosen, over what the model's generation_config.json recommends.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "engine/sampling_params.h"

namespace hadal {

struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
  double presence_penalty = 0, frequency_penalty = 0;
  std::vector<std::string> logit_bias, stop;
  std::optional<int64_t> max_tokens;
  std::optional<uint64_t> seed;
  bool greedy = false, ignore_eos = false;
};

void AddSamplingFlags(CLI::App& verb, SamplingFlags& flags);

/// "ID:BIAS" of --logit-bias.
Result<std::pair<int32_t, float>> ParseBias(const std::string& text);

/// The parameters: a flag where there is one, else what `folder`/generation_config.json says (temperature,
/// top_k, top_p, min_p, repetition_penalty; "do_sample": false is temperature 0), else SamplingParams' own
/// default, except that max_tokens is as many as the context holds and the seed is drawn anew.
/// kInvalidArgument names the flag or the file, what it says and what is allowed.
Result<SamplingParams> ToSamplingParams(const SamplingFlags& flags, const Path& folder, int64_t vocab_size);

}  // namespace hadal
