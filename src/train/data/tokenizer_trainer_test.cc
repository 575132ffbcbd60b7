#include "train/data/tokenizer_trainer.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>

#include "base/rng.h"
#include "text/chat_template.h"
#include "text/test_tokenizers.h"
#include "text/utf8.h"
#include "train/data/document_encoder.h"
#include "train/data/token_shards.h"
#include "train/data/tokenizer_files.h"

namespace hadal::train {
namespace {

using testing::HasSubstr;

TEST(TrainBpe, MergesTheMostFrequentPairAndOfEqualOnesTheLowest) {
  const PieceCounts pieces = {{"abab", 5}, {"abc", 2}, {"xy", 3}, {"zy", 3}, {"once", 1}};
  const TrainedBpe bpe =
      TrainBpe(pieces, {.tokens = 300, .min_count = 2, .forbidden = {}, .progress = {}}).value();
  // ab 12 times, then abab 5, then xy before zy at 3 each, then abc 2; the pairs of "once" never.
  const std::vector<std::string> made(bpe.tokens.begin() + 256, bpe.tokens.end());
  EXPECT_EQ(made, (std::vector<std::string>{"ab", "abab", "xy", "zy", "abc"}));
  EXPECT_EQ(bpe.merges[0], (std::pair<int32_t, int32_t>('a', 'b')));
  EXPECT_EQ(bpe.merges[1], (std::pair<int32_t, int32_t>(256, 256)));
  const TrainedBpe fewer =
      TrainBpe(pieces, {.tokens = 258, .min_count = 2, .forbidden = {"xy"}, .progress = {}}).value();
  EXPECT_EQ(fewer.tokens.size(), 258u);
  const TrainedBpe without =
      TrainBpe(pieces, {.tokens = 300, .min_count = 2, .forbidden = {"xy"}, .progress = {}}).value();
  EXPECT_EQ(std::ranges::count(without.tokens, "xy"), 0);
  EXPECT_EQ(std::ranges::count(without.tokens, "zy"), 1);
}

TEST(TrainBpe, CountsPairsThatOverlap) {
  // aaaa: three pairs, two merges; then one pair of pairs.
  const TrainedBpe bpe =
      TrainBpe({{"aaaaa", 2}}, {.tokens = 300, .min_count = 2, .forbidden = {}, .progress = {}}).value();
  const std::vector<std::string> made(bpe.tokens.begin() + 256, bpe.tokens.end());
  EXPECT_EQ(made, (std::vector<std::string>{"aa", "aaa", "aaaaa"}));
}

/// The same by counting everything again for every merge.
TrainedBpe Slowly(const PieceCounts& pieces, int64_t tokens) {
  TrainedBpe bpe;
  for (int byte = 0; byte < 256; ++byte) bpe.tokens.emplace_back(1, static_cast<char>(byte));
  std::vector<std::pair<std::vector<int32_t>, int64_t>> words;
  for (const auto& [piece, count] : pieces) {
    words.emplace_back(std::vector<int32_t>{}, count);
    for (const unsigned char c : piece) words.back().first.push_back(c);
  }
  while (static_cast<int64_t>(bpe.tokens.size()) < tokens) {
    std::map<std::pair<int32_t, int32_t>, int64_t> counts;
    for (const auto& [word, count] : words)
      for (size_t i = 0; i + 1 < word.size(); ++i) counts[{word[i], word[i + 1]}] += count;
    const auto best = std::ranges::max_element(counts, [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second < b.second : a.first > b.first;
    });
    if (best == counts.end() || best->second < 2) break;
    const auto pair = best->first;
    const std::string bytes = bpe.tokens[pair.first] + bpe.tokens[pair.second];
    auto at = std::ranges::find(bpe.tokens, bytes);
    const auto id = static_cast<int32_t>(at - bpe.tokens.begin());
    if (at == bpe.tokens.end()) bpe.tokens.push_back(bytes);
    bpe.merges.push_back(pair);
    for (auto& [word, count] : words) {
      std::vector<int32_t> merged;
      for (size_t i = 0; i < word.size(); ++i) {
        const bool joins = i + 1 < word.size() && word[i] == pair.first && word[i + 1] == pair.second;
        merged.push_back(joins ? id : word[i]);
        i += joins;
      }
      word = std::move(merged);
    }
  }
  return bpe;
}

TEST(TrainBpe, GivesWhatCountingEverythingAgainGives) {
  PieceCounts pieces;
  for (uint64_t i = 0; i < 400; ++i) {
    std::string piece;
    const auto random = PhiloxAt(3, 0, i);
    for (uint32_t c = 0; c < 2 + random[0] % 9; ++c)
      piece += static_cast<char>('a' + PhiloxAt(3, i + 1, c)[0] % 4);
    pieces[piece] += 1 + random[1] % 5;
  }
  const TrainedBpe fast =
      TrainBpe(pieces, {.tokens = 420, .min_count = 2, .forbidden = {}, .progress = {}}).value();
  const TrainedBpe slow = Slowly(pieces, 420);
  EXPECT_EQ(fast.tokens, slow.tokens);
  EXPECT_EQ(fast.merges, slow.merges);
}

class TokenizerTrainerTest : public testing::Test {
 protected:
  TokenizerTrainerTest() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-bpe-XXXXXX").string();
    path_ = mkdtemp(name.data());
    std::string text;
    for (int i = 0; i < 3000; ++i)
      text += fmt::format("The {} answer to question {} is {}; 水很深 <think>\n", i % 7 ? "short" : "long", i,
                          i * 37 % 1000);
    Write("a.txt", text);
    Write("b.jsonl",
          R"({"messages": [{"role": "user", "content": "Wie viel?"}, {"role": "assistant", "content": "Zwei.",
                        "tool_calls": [{"function": {"name": "count_fishes", "arguments": {"sea": "deep"}}}]}]})");
    std::string lines = ReadFile(path_ / "b.jsonl").value();
    std::erase(lines, '\n');
    Write("b.jsonl", lines + "\n" + lines + "\n{\"text\": \"count_fishes\"}\n");
  }
  ~TokenizerTrainerTest() override { std::filesystem::remove_all(path_); }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  TokenizerTrainerOptions Options(const std::string& out) const {
    TokenizerTrainerOptions options;
    options.inputs = {path_ / "a.txt", path_ / "b.jsonl"};
    options.out = path_ / out;
    options.vocab_size = 500;
    return options;
  }
  std::string FailureOf(const TokenizerTrainerOptions& options) {
    const auto report = TrainTokenizer(options);
    return report ? "" : report.error().message;
  }
  Path path_;
};

TEST_F(TokenizerTrainerTest, TextComesBackByteForByteAndInFewTokens) {
  const TokenizerReport report = TrainTokenizer(Options("t")).value();
  EXPECT_EQ(report.vocab_size, 500);
  const Tokenizer tokenizer = Tokenizer::Load(path_ / "t").value();
  EXPECT_EQ(tokenizer.vocab_size(), 500);
  EXPECT_EQ(tokenizer.IdOf("<｜begin▁of▁sentence｜>"), 0);
  EXPECT_EQ(tokenizer.IdOf("<think>"), 5);
  EXPECT_TRUE(tokenizer.IsSpecial(1));
  EXPECT_FALSE(tokenizer.IsSpecial(5));
  EXPECT_LE(tokenizer.Encode("The short answer").value().size(), 4u);
  // Every byte, in UTF-8 or not: each has its token.
  for (int byte = 0; byte < 256; ++byte) {
    const int32_t id = 14 + byte;
    EXPECT_EQ(tokenizer.TokenBytes(id).value(), std::string(1, static_cast<char>(byte)));
  }
  std::string all;
  for (char32_t c = 0; c < 0x3000; c += c < 0x100 ? 1 : 7) AppendUtf8(c, all);
  all += "\xf0\x9f\x90\x9f \r\n\t  <think><｜User｜> 12345 ";
  for (const bool special : {true, false})
    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(all, {.parse_special = special}).value()).value(), all);
  const auto ids = tokenizer.Encode("<think>", {.parse_special = false}).value();
  EXPECT_EQ(std::ranges::count(ids, 5), 0);
}

TEST_F(TokenizerTrainerTest, TheLoadedTokenizerMergesAsTrained) {
  ASSERT_TRUE(TrainTokenizer(Options("t")));
  const Tokenizer tokenizer = Tokenizer::Load(path_ / "t").value();
  const auto json = nlohmann::json::parse(ReadFile(path_ / "t" / "tokenizer.json").value());
  // By the file's ranks: of all neighbours the one with the lowest, until none is left.
  std::map<std::string, size_t> ranks;
  for (const std::string merge : json["model"]["merges"]) ranks.emplace(merge, ranks.size());
  EXPECT_EQ(ranks.size(), 500u - 256 - 14);
  for (const std::string word : {"answer", "question", "TheThe", "lonlonglong", "shortest", "qqquestions"}) {
    std::vector<std::string> symbols;
    for (const char c : word) symbols.push_back(ByteLevelCharacter(static_cast<uint8_t>(c)));
    for (;;) {
      size_t best = SIZE_MAX, at = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i)
        if (const auto found = ranks.find(symbols[i] + " " + symbols[i + 1]);
            found != ranks.end() && found->second < best)
          best = found->second, at = i;
      if (best == SIZE_MAX) break;
      symbols[at] += symbols[at + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    std::vector<int32_t> ids;
    for (const std::string& symbol : symbols) ids.push_back(json["model"]["vocab"][symbol]);
    EXPECT_EQ(tokenizer.Encode(word).value(), ids) << word;
  }
}

TEST_F(TokenizerTrainerTest, FilesAreTheSameForAnyThreads) {
  ASSERT_TRUE(TrainTokenizer(Options("one")));
  for (const int threads : {2, 3}) {
    TokenizerTrainerOptions options = Options("t" + std::to_string(threads));
    options.threads = threads;
    ASSERT_TRUE(TrainTokenizer(options));
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
      EXPECT_EQ(ReadFile(options.out / name).value(), ReadFile(path_ / "one" / name).value());
  }
}

TEST_F(TokenizerTrainerTest, DigitsAndMoreSpecialTokens) {
  TokenizerTrainerOptions options = Options("t");
  options.digits = 1;
  options.special = {"<mine>"};
  options.chat_template = "{{ messages[0].content }}";
  ASSERT_TRUE(TrainTokenizer(options));
  const Tokenizer tokenizer = Tokenizer::Load(options.out).value();
  EXPECT_EQ(tokenizer.Encode("1234").value().size(), 4u);
  EXPECT_EQ(tokenizer.Encode("<mine>").value(), std::vector<int32_t>{14});
  EXPECT_EQ(ChatTemplate::Load(options.out).value().source(), options.chat_template);
}

TEST_F(TokenizerTrainerTest, TheDefaultTemplateWritesChatsReasoningAndCalls) {
  ASSERT_TRUE(TrainTokenizer(Options("t")));
  const DocumentEncoder encoder = DocumentEncoder::Load(path_ / "t").value();
  const auto shown = [&](const std::string& json) {
    TokenDocuments out;
    const Status encoded = encoder.EncodeLine(json, out);
    EXPECT_TRUE(encoded) << encoded.error().message;
    std::string text;
    bool learnt = false;
    for (size_t t = 0; t < out.tokens.size(); ++t) {
      if (learnt != ((out.flags[t] & kLearnt) != 0)) text += (learnt = !learnt) ? "[[" : "]]";
      text += encoder.tokenizer().TokenBytes(out.tokens[t]).value();
    }
    return text + (learnt ? "]]" : "");
  };
  EXPECT_EQ(shown(R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"},
                     {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
                     {"role": "assistant", "reasoning_content": "r", "content": "d"}]})"),
            "<｜begin▁of▁sentence｜>S<｜User｜>a<｜Assistant｜></think>[[b<｜end▁of▁sentence｜>]]"
            "<｜User｜>c<｜Assistant｜><think>[[r</think>d<｜end▁of▁sentence｜>]]");
  EXPECT_EQ(
      shown(R"({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
                     "messages": [{"role": "user", "content": "a"},
                     {"role": "assistant", "content": null, "tool_calls": [
                       {"function": {"name": "f", "arguments": "{\"x\": \"<｜User｜>\"}"}},
                       {"function": {"name": "f", "arguments": {}}}]},
                     {"role": "tool", "content": "1"}, {"role": "assistant", "content": "one"}]})"),
      "<｜begin▁of▁sentence｜>## Tools\n{\"name\": \"f\", \"parameters\": "
      "{}}<｜User｜>a<｜Assistant｜></think>"
      "[[<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": \"<｜User｜>\"}<｜tool▁call▁end｜>"
      "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>]]"
      "<｜tool▁output▁begin｜>1<｜tool▁output▁end｜><｜Assistant｜></think>[[one<｜end▁of▁sentence｜>]]");
  const OutputFormat format = DetectOutputFormat(DefaultChatTemplate());
  EXPECT_TRUE(format.reasoning);
  EXPECT_EQ(format.tools, ToolCallFormat::kDeepSeekV31);
}

TEST_F(TokenizerTrainerTest, RefusalsAreSentences) {
  TokenizerTrainerOptions options = Options("t");
  options.vocab_size = 100;
  EXPECT_THAT(FailureOf(options), HasSubstr("a vocabulary of 100, expected 270"));
  options = Options("t");
  options.special = {"<think>"};
  EXPECT_THAT(FailureOf(options), HasSubstr("there already"));
  options = Options("t");
  options.chat_template = "{% if %}";
  EXPECT_THAT(FailureOf(options), HasSubstr("chat template"));
  Write("bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": 1}\n");
  options = Options("t");
  options.inputs.push_back(path_ / "bad.jsonl");
  EXPECT_THAT(FailureOf(options), HasSubstr("bad.jsonl:2: 'text' is no text"));
  options.skip_bad = true;
  EXPECT_EQ(TrainTokenizer(options).value().skipped, 1);
  std::filesystem::create_directory(path_ / "full");
  Write("full/model.safetensors", "x");
  EXPECT_THAT(FailureOf(Options("full")), HasSubstr("model.safetensors"));
  std::filesystem::create_directory(path_ / "begun");
  Write("begun/config.json", "{}");
  EXPECT_EQ(FailureOf(Options("begun")), "");
  options = Options("u");
  options.progress = [](const char*, uint64_t, uint64_t) { return false; };
  EXPECT_EQ(TrainTokenizer(options).error().code, Code::kCancelled);
}

}  // namespace
}  // namespace hadal::train
