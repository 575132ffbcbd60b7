#include "ops/prompts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "base/rng.h"

namespace hadal {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 20;
// Philox streams: what all prompts share, lengths, and the requests' own.
constexpr uint64_t kSharedStream = uint64_t{1} << 62;
constexpr uint64_t kLengthStream = kSharedStream + 1;

constexpr std::array<std::string_view, 64> kWords = {
    "sea",    "salt",  "deep",  "dark",  "wave",    "tide",    "ship",   "port",   "sand",   "rock",
    "wind",   "rain",  "snow",  "river", "lake",    "stone",   "light",  "fish",   "whale",  "shell",
    "pearl",  "coral", "reef",  "kelp",  "storm",   "cloud",   "blue",   "green",  "cold",   "warm",
    "north",  "south", "east",  "west",  "sail",    "mast",    "rope",   "anchor", "chart",  "star",
    "moon",   "sun",   "night", "day",   "morning", "evening", "winter", "summer", "spring", "autumn",
    "island", "coast", "bay",   "cape",  "gulf",    "trench",  "ridge",  "basin",  "plain",  "slope",
    "shelf",  "vent",  "mud",   "ooze"};

uint32_t Draw(uint64_t seed, uint64_t stream, uint64_t index) { return PhiloxAt(seed, stream, index)[0]; }

int64_t DrawLength(const LengthRange& range, uint32_t word) {
  const uint64_t span = static_cast<uint64_t>(range.most - range.least) + 1;
  return range.least + static_cast<int64_t>((uint64_t{word} * span) >> 32);
}

bool ParseNumber(std::string_view text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<LengthRange> ParseLengthRange(const std::string& text) {
  const std::string_view view = text;
  const size_t dash = view.find('-', 1);
  LengthRange range;
  bool ok = ParseNumber(view.substr(0, dash), range.least);
  range.most = range.least;
  if (dash != std::string_view::npos) ok = ok && ParseNumber(view.substr(dash + 1), range.most);
  if (!ok || range.least < 1 || range.most < range.least || range.most > kMostTokens)
    return InvalidArgument(
        "'{}' is no length in tokens; give a number such as 512 or a range such as 128-1024, from 1 to {}",
        text.substr(0, 64), kMostTokens);
  return range;
}

RequestLengths LengthsOf(const PromptOptions& options, uint64_t index) {
  const auto words = PhiloxAt(options.seed, kLengthStream, index);
  return {DrawLength(options.input, words[0]), DrawLength(options.output, words[1])};
}

std::vector<int32_t> PromptIds(const PromptOptions& options, uint64_t index, int64_t length,
                               const std::vector<int32_t>& alphabet) {
  std::vector<int32_t> ids(static_cast<size_t>(length));
  for (size_t i = 0; i < ids.size(); ++i) {
    const bool shared = static_cast<int64_t>(i) < options.shared_prefix;
    const uint32_t word = Draw(options.seed, shared ? kSharedStream : index, i);
    ids[i] = alphabet[static_cast<size_t>((uint64_t{word} * alphabet.size()) >> 32)];
  }
  return ids;
}

std::string PromptText(const PromptOptions& options, uint64_t index, int64_t words, int64_t shared) {
  std::string text;
  text.reserve(static_cast<size_t>(std::max<int64_t>(words, 1)) * 6);
  for (int64_t i = 0; i < words; ++i) {
    const uint32_t word = Draw(options.seed, i < shared ? kSharedStream : index, static_cast<uint64_t>(i));
    if (i > 0) text += ' ';
    text += kWords[word % kWords.size()];
  }
  return text;
}

}  // namespace hadal
