// A small tokenizer folder and input files for tests of the preparation.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "text/test_tokenizers.h"
#include "train/data/token_shards.h"

namespace hadal::train {

/// A folder of its own for a test, with a tokenizer of bytes and six added tokens, 256 to 261.
class PrepareFolderForTest {
 public:
  static constexpr int32_t kBegin = 256, kEnd = 257, kUser = 258, kAssistant = 259, kThink = 260,
                           kThought = 261;

  PrepareFolderForTest() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-prepare-XXXXXX").string();
    path_ = mkdtemp(name.data());
    std::filesystem::create_directory(path_ / "tokenizer");
    nlohmann::json json = SmallJson();
    int id = 256;
    for (const char* content : {"<bos>", "<eos>", "<user>", "<assistant>", "<think>", "</think>"})
      json["added_tokens"].push_back(
          {{"id", id++}, {"content", content}, {"normalized", false}, {"special", true}});
    Write("tokenizer/tokenizer.json", json.dump());
    WriteConfig(
        "{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'assistant' %}<assistant>"
        "{% if loop.last and m.reasoning_content %}<think>{{ m.reasoning_content }}{% endif %}</think>"
        "{{ m.content }}<eos>"
        "{% else %}<user>{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% if thinking %}<think>{% else %}</think>{% endif %}{% "
        "endif %}");
  }
  ~PrepareFolderForTest() { std::filesystem::remove_all(path_); }

  void WriteConfig(const std::string& chat_template) const {
    Write("tokenizer/tokenizer_config.json", nlohmann::json{{"bos_token", "<bos>"},
                                                            {"eos_token", {{"content", "<eos>"}}},
                                                            {"add_bos_token", true},
                                                            {"chat_template", chat_template}}
                                                 .dump());
  }
  Path operator/(const std::string& name) const { return path_ / name; }
  void Write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  Path path_;
};

/// Tokens as text: added ones by name, learnt ones in brackets, "^" where a document starts.
inline std::string Shown(std::span<const int32_t> tokens, std::span<const uint8_t> flags) {
  static constexpr const char* kNames[] = {"<bos>", "<eos>", "<user>", "<assistant>", "<think>", "</think>"};
  std::string text;
  bool learnt = false;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (learnt != ((flags[t] & kLearnt) != 0)) text += (learnt = !learnt) ? "[" : "]";
    if (flags[t] & kDocumentStart) text += "^";
    text += tokens[t] < 256 ? std::string(1, static_cast<char>(tokens[t])) : kNames[tokens[t] - 256];
  }
  return text + (learnt ? "]" : "");
}

}  // namespace hadal::train
