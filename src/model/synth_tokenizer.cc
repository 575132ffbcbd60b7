#include "model/synth_tokenizer.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "model/tiny_tokenizer.h"

namespace hadal {
namespace {

// Sorted keys: an insertion-ordered object searches all its keys for each new one.
using Json = nlohmann::json;

constexpr std::string_view kConsonants = "bdfghklmnprstvz", kVowels = "aeiou";
constexpr int64_t kSyllables = static_cast<int64_t>(kConsonants.size() * kVowels.size());

/// Three syllables after a space, as the byte-level alphabet writes it. The built-in tokenizer has no such
/// token.
std::string Word(int64_t number) {
  std::string word = "\u0120";
  for (int64_t place : {kSyllables * kSyllables, kSyllables, int64_t{1}}) {
    const auto syllable = static_cast<size_t>(number / place % kSyllables);
    word += kConsonants[syllable / kVowels.size()];
    word += kVowels[syllable % kVowels.size()];
  }
  return word;
}

/// Text that is part of the program.
Json Parsed(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  HADAL_CHECK(json.is_object(), "the built-in tokenizer is not JSON");
  return json;
}

}  // namespace

std::string SynthTokenizerJson(int64_t vocab_size) {
  const int64_t words = vocab_size - kTinyTokenizerIds;
  HADAL_CHECK(words >= 0 && words <= kSyllables * kSyllables * kSyllables, "vocabulary of {}", vocab_size);
  Json json = Parsed(kTinyTokenizerJson);
  Json& vocab = json["model"]["vocab"];
  for (int64_t word = 0; word < words; ++word) vocab[Word(word)] = kTinyTokenizerIds + word;
  return json.dump(1) + "\n";
}

std::string SynthTokenizerConfigJson(const ModelConfig& config) {
  Json json = Parsed(kTinyTokenizerConfigJson);
  json["model_max_length"] = config.max_position_embeddings;
  return json.dump(2) + "\n";
}

}  // namespace hadal
