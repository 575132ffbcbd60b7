// The tokenizer of synthesized models: real text goes in, and every id comes out as text.
#pragma once

#include <string>

#include "model/config.h"

namespace hadal {

/// Ids of the byte-level BPE tokenizer that is built into the program (models/tiny-bpe).
constexpr int64_t kTinyTokenizerIds = 512;
constexpr int64_t kTinyBosId = 0;
constexpr int64_t kTinyEosId = 1;

/// tokenizer.json for a vocabulary of `vocab_size`, at least kTinyTokenizerIds and at most 75^3 ids more: the
/// built-in one, and a made-up word of three syllables for every further id, since a model with random
/// weights samples them all. No text encodes to those.
std::string SynthTokenizerJson(int64_t vocab_size);

/// tokenizer_config.json, with the chat template.
std::string SynthTokenizerConfigJson(const ModelConfig& config);

}  // namespace hadal
