// Tokenizers for tests: those of the test data, and small ones made up on the spot.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"

namespace hadal {

inline Path TokenizerData() { return Path(HADAL_TEST_DATA) / "tokenizer"; }

/// The bytes of a .gz file; empty if it could not be unpacked.
inline std::string Gunzip(const Path& path) {
  std::string out;
  FILE* pipe = popen(("gunzip -c '" + path.string() + "'").c_str(), "r");
  if (!pipe) return out;
  char buffer[1 << 16];
  while (const size_t count = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, count);
  return pclose(pipe) == 0 ? out : std::string();
}

/// tokenizer.json of a folder of the test data. V3.1's is V3's with some added tokens replaced.
inline std::string TokenizerJson(const std::string& name) {
  if (name.starts_with("tiny")) return ReadFile(TokenizerData() / name / "tokenizer.json").value();
  if (name != "deepseek-v3.1") return Gunzip(TokenizerData() / name / "tokenizer.json.gz");
  auto json = nlohmann::json::parse(TokenizerJson("deepseek-v3"));
  const std::string changed = ReadFile(TokenizerData() / name / "added_tokens_changed.json").value();
  for (const auto& token : nlohmann::json::parse(changed))
    for (auto& old : json["added_tokens"])
      if (old["id"] == token["id"]) old = token;
  return json.dump();
}

/// A tokenizer.json whose vocabulary is the 256 bytes (id = byte), then `tokens` (ids from 256), with
/// `merges`, no splitting and no added tokens.
inline nlohmann::json SmallJson(const std::vector<std::string>& tokens = {},
                                const std::vector<std::string>& merges = {}) {
  nlohmann::json vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[ByteLevelCharacter(static_cast<uint8_t>(byte))] = byte;
  int id = 256;
  for (const std::string& token : tokens) vocab[token] = id++;
  return {{"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"added_tokens", nlohmann::json::array()},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

inline Tokenizer Make(const nlohmann::json& json) {
  auto tokenizer = Tokenizer::FromJson(json.dump());
  if (!tokenizer) ADD_FAILURE() << tokenizer.error().message;
  return std::move(tokenizer).value();
}

}  // namespace hadal
