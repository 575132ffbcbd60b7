#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "base/rng.h"
#include "text/test_tokenizers.h"
#include "text/utf8.h"

namespace hadal {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json WithAdded(json base, const json& token) {
  base["added_tokens"].push_back(token);
  return base;
}

TEST(Tokenizer, UntrustedTextMatchesNoAddedToken) {
  const json text = WithAdded(SmallJson({"<x>"}), {{"id", 256}, {"content", "<x>"}, {"special", true}});
  const Tokenizer tokenizer = Make(text);
  EXPECT_THAT(tokenizer.Encode("a<x>").value(), ElementsAre('a', 256));
  EXPECT_THAT(tokenizer.Encode("a<x>", {.parse_special = false}).value(), ElementsAre('a', '<', 'x', '>'));
}

// Not even where a model takes whole pieces from its vocabulary, or has merges that spell the token.
TEST(Tokenizer, UntrustedTextCannotSpellAnAddedToken) {
  json text = WithAdded(SmallJson({"<x", "<x>"}, {"< x", "<x >"}), {{"id", 257}, {"content", "<x>"}});
  EXPECT_THAT(Make(text).Encode("<x>", {.parse_special = false}).value(), ElementsAre(256, '>'));
  text["model"]["ignore_merges"] = true;
  EXPECT_THAT(Make(text).Encode("<x>", {.parse_special = false}).value(), ElementsAre(256, '>'));
}

TEST(Tokenizer, InvalidUtf8IsTakenAsReplacementCharacters) {
  const Tokenizer tokenizer = Make(SmallJson());
  const std::string bad =
      "a\xE4\xB8"
      "b\xFF";
  EXPECT_EQ(tokenizer.Encode(bad).value(), tokenizer.Encode(RepairUtf8(bad)).value());
  EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(bad).value()).value(),
            "a\uFFFD"
            "b\uFFFD");
}

TEST(Tokenizer, MergesMayBePairs) {
  json text = SmallJson({"ab"});
  text["model"]["merges"] = json::array({json::array({"a", "b"})});
  EXPECT_THAT(Make(text).Encode("aab").value(), ElementsAre('a', 256));
}

TEST(Tokenizer, IdsWithoutATokenAreErrorsThatNameThem) {
  const Tokenizer tokenizer =
      Make(WithAdded(SmallJson(), {{"id", 300}, {"content", "<x>"}, {"special", true}}));
  EXPECT_EQ(tokenizer.vocab_size(), 301);
  for (const int32_t id : {-1, 301, 299, INT32_MAX, INT32_MIN}) {
    const std::vector<int32_t> ids{'a', id};
    const auto text = tokenizer.Decode(ids, /*skip_special=*/true);
    ASSERT_FALSE(text.has_value()) << id;
    EXPECT_EQ(text.error().code, Code::kInvalidArgument);
    EXPECT_THAT(text.error().message, HasSubstr(fmt::format("the id {}; the vocabulary has 301", id)));
    EXPECT_FALSE(tokenizer.TokenBytes(id).has_value());
    EXPECT_FALSE(tokenizer.IsSpecial(id));
  }
}

TEST(Tokenizer, DecodesToTheTextItEncoded) {
  const Tokenizer tiny = Make(json::parse(TokenizerJson("tiny-bpe")));
  const Tokenizer digits = Make(json::parse(TokenizerJson("tiny-bpe-digits")));
  constexpr char32_t kEnds[] = {0x80, 0x100, 0x800, 0x3000, 0xA000, 0x10000, 0x20000, 0x110000};
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::string text;
    for (uint64_t i = 0; i < seed % 60; ++i) {
      const auto draw = PhiloxAt(seed, 2, i);
      const char32_t scalar = draw[0] % kEnds[draw[1] % std::size(kEnds)];
      if (draw[2] % 16 == 0) text += "<｜User｜>";
      AppendUtf8(scalar >= 0xD800 && scalar < 0xE000 ? U' ' : scalar, text);
    }
    for (const Tokenizer* tokenizer : {&tiny, &digits})
      for (const bool parse_special : {false, true}) {
        const auto ids = tokenizer->Encode(text, {.parse_special = parse_special});
        ASSERT_TRUE(ids.has_value()) << ids.error().message;
        ASSERT_EQ(tokenizer->Decode(*ids).value(), text) << "seed " << seed;
      }
  }
}

TEST(Tokenizer, EncodesFromManyThreads) {
  const Tokenizer tokenizer = Make(json::parse(TokenizerJson("tiny-bpe")));
  const std::string text = "Three 333 blanks   and\n\n中文 <think> don't\t!?";
  const auto want = tokenizer.Encode(text).value();
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) wrong[t] += tokenizer.Encode(text).value() != want;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
}

TEST(Tokenizer, RefusesTextsBeyondItsLimit) {
  const auto ids = Make(SmallJson()).Encode(std::string(Tokenizer::kMaxTextBytes + 1, 'a'));
  EXPECT_EQ(ids.error().code, Code::kResourceExhausted);
}

TEST(Tokenizer, HostilePatternsAreErrors) {
  json text = SmallJson();
  text["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "(a+)+[bc]"}}}, {"behavior", "Isolated"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  const auto ids = Make(text).Encode(std::string(100, 'a'));
  ASSERT_FALSE(ids.has_value());
  EXPECT_THAT(ids.error().message, HasSubstr("(a+)+[bc]"));
}

TEST(Tokenizer, LoadNamesTheFile) {
  EXPECT_TRUE(Tokenizer::Load(TokenizerData() / "tiny-bpe").has_value());
  EXPECT_EQ(Tokenizer::Load("/no/such/folder").error().code, Code::kNotFound);
  const Path dir = Path(testing::TempDir()) / fmt::format("hadal_tokenizer_test_{}", getpid());
  std::filesystem::create_directory(dir);
  ASSERT_TRUE(WriteFileAtomic(dir / "tokenizer.json", "{").has_value());
  EXPECT_THAT(Tokenizer::Load(dir).error().message, HasSubstr((dir / "tokenizer.json").string()));
  std::filesystem::remove_all(dir);
}

struct Malformed {
  const char* message;
  std::function<void(json&)> change;
};

TEST(Tokenizer, MalformedFilesAreErrorsThatNameTheFault) {
  const json split = {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Isolated"}};
  const json byte_level = {{"type", "ByteLevel"}};
  const auto steps = [](json list) { return json{{"type", "Sequence"}, {"pretokenizers", std::move(list)}}; };
  const auto add = [](json& j, json token) { j["added_tokens"].push_back(std::move(token)); };
  const std::vector<Malformed> cases{
      {"'model' is missing", [](json& j) { j.erase("model"); }},
      {"type 'WordPiece'", [](json& j) { j["model"]["type"] = "WordPiece"; }},
      {"'type' is missing", [](json& j) { j["model"].erase("type"); }},
      {"'dropout' is 0.1", [](json& j) { j["model"]["dropout"] = 0.1; }},
      {"'end_of_word_suffix' is '</w>'", [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
      {"'continuing_subword_prefix' is '##'",
       [](json& j) { j["model"]["continuing_subword_prefix"] = "##"; }},
      {"'unk_token' is '<u>'", [](json& j) { j["model"]["unk_token"] = "<u>"; }},
      {"'ignore_merges' is of another type", [](json& j) { j["model"]["ignore_merges"] = 1; }},
      {"'vocab' is of another type", [](json& j) { j["model"]["vocab"] = json::array(); }},
      {"'merges' is missing", [](json& j) { j["model"].erase("merges"); }},
      {"'q' has the id -1", [](json& j) { j["model"]["vocab"]["q"] = -1; }},
      {"'q' has the id 16777216", [](json& j) { j["model"]["vocab"]["q"] = 1 << 24; }},
      {"'q' has the id 18446744073709551615", [](json& j) { j["model"]["vocab"]["q"] = UINT64_MAX; }},
      {"'q' has the id 1.5", [](json& j) { j["model"]["vocab"]["q"] = 1.5; }},
      {"both have the id 7", [](json& j) { j["model"]["vocab"]["zzz"] = 7; }},
      {"token 'a' for the byte 0x61", [](json& j) { j["model"]["vocab"].erase("a"); }},
      {"merge 0 needs the token 'nope'", [](json& j) { j["model"]["merges"] = {"nope a"}; }},
      {"merge 0 needs the token 'ab'", [](json& j) { j["model"]["merges"] = {"a b"}; }},
      {"merge 0 is 'ab'", [](json& j) { j["model"]["merges"] = {"ab"}; }},
      {"merge 0 is 'a b c'", [](json& j) { j["model"]["merges"] = {"a b c"}; }},
      {"merge 0 is neither", [](json& j) { j["model"]["merges"] = json::array({json::array({"a"})}); }},
      {"merge 0 is neither", [](json& j) { j["model"]["merges"] = json::array({7}); }},
      {"normalizer: the type 'NFC'",
       [](json& j) {
         j["normalizer"] = {{"type", "NFC"}};
       }},
      {"normalizer: the type 'Lowercase'",
       [](json& j) {
         j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}};
       }},
      {"decoder: there is none", [](json& j) { j["decoder"] = nullptr; }},
      {"decoder: the type 'Fuse'",
       [](json& j) {
         j["decoder"] = {{"type", "Fuse"}};
       }},
      {"pre_tokenizer: there is none", [](json& j) { j["pre_tokenizer"] = nullptr; }},
      {"the type 'Metaspace'",
       [](json& j) {
         j["pre_tokenizer"] = {{"type", "Metaspace"}};
       }},
      {"does not end in a ByteLevel", [&](json& j) { j["pre_tokenizer"] = split; }},
      {"'Split' after ByteLevel",
       [&](json& j) {
         j["pre_tokenizer"] = steps({byte_level, split});
       }},
      {"100 steps", [&](json& j) { j["pre_tokenizer"] = steps(json::array_t(100, split)); }},
      {"behavior 'Odd'",
       [&](json& j) {
         json odd = split;
         odd["behavior"] = "Odd";
         j["pre_tokenizer"] = steps({odd, byte_level});
       }},
      {"intersection",
       [&](json& j) {
         json odd = split;
         odd["pattern"]["Regex"] = "[a&&b]";
         j["pre_tokenizer"] = steps({odd, byte_level});
       }},
      {"'content' is missing",
       [&](json& j) {
         add(j, {{"id", 300}});
       }},
      {"'<x>' has no id",
       [&](json& j) {
         add(j, {{"content", "<x>"}});
       }},
      {"'<x>' has the id -5",
       [&](json& j) {
         add(j, {{"content", "<x>"}, {"id", -5}});
       }},
      {"'' has 0 bytes",
       [&](json& j) {
         add(j, {{"content", ""}, {"id", 300}});
       }},
      {"has 2000 bytes",
       [&](json& j) {
         add(j, {{"content", std::string(2000, 'x')}, {"id", 300}});
       }},
      {"'<x>' has the id 97, which is 'a'",
       [&](json& j) {
         add(j, {{"content", "<x>"}, {"id", 97}});
       }},
      {"'a' has the id 300, and in the model's vocabulary 97",
       [&](json& j) {
         add(j, {{"content", "a"}, {"id", 300}});
       }},
      {"is there twice",
       [&](json& j) {
         add(j, {{"content", "<x>"}, {"id", 300}});
         add(j, {{"content", "<y>"}, {"id", 300}});
       }},
  };
  ASSERT_TRUE(Tokenizer::FromJson(SmallJson().dump()).has_value());
  for (const Malformed& wrong : cases) {
    json text = SmallJson();
    wrong.change(text);
    const auto tokenizer = Tokenizer::FromJson(text.dump());
    ASSERT_FALSE(tokenizer.has_value()) << wrong.message;
    EXPECT_THAT(tokenizer.error().message, HasSubstr(wrong.message));
  }
}

TEST(Tokenizer, TextThatIsNotJsonIsAnError) {
  const std::string good = SmallJson().dump();
  for (const std::string& text : {std::string(), std::string("[]"), std::string("null"), good.substr(0, 500),
                                  good + "}", std::string(5000, '['), std::string("{\"model\":\"\xff\"}")}) {
    EXPECT_FALSE(Tokenizer::FromJson(text).has_value()) << text.substr(0, 40);
  }
  std::string twice = good;
  twice.replace(twice.find("\"a\":97"), 6, "\"a\":97,\"a\":999");
  EXPECT_THAT(Tokenizer::FromJson(twice).error().message, HasSubstr("'a' is in the vocabulary twice"));
}

}  // namespace
}  // namespace hadal
