#include "text/detokenizer.h"

#include "base/rng.h"
#include "text/test_tokenizers.h"

namespace hadal {
namespace {

TEST(StreamDecoder, HoldsBackWhatIsNotCertain) {
  const Tokenizer tokenizer = Make(SmallJson());  // id = byte
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.Push('a').value(), "a");
  EXPECT_EQ(decoder.Push(0xF0).value(), "");
  EXPECT_EQ(decoder.Push(0x9F).value(), "");
  EXPECT_EQ(decoder.Push(0x91).value(), "");
  EXPECT_EQ(decoder.Push(0x8D).value(), "\U0001F44D");
  EXPECT_EQ(decoder.Push(0xE4).value(), "");
  EXPECT_EQ(decoder.Push('b').value(),
            "\uFFFD"
            "b");
  EXPECT_EQ(decoder.Push(0xE4).value(), "");
  EXPECT_EQ(decoder.Push(0xB8).value(), "");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamDecoder, AWrongIdChangesNothing) {
  StreamDecoder decoder(Make(SmallJson()));
  EXPECT_EQ(decoder.Push(0xC3).value(), "");
  EXPECT_FALSE(decoder.Push(256).has_value());
  EXPECT_FALSE(decoder.Push(-1).has_value());
  EXPECT_EQ(decoder.Push(0xA9).value(), "é");
}

// Random bytes, most of them parts of characters, with special tokens among them.
TEST(StreamDecoder, EqualsDecodeForAnyIds) {
  auto json = SmallJson();
  json["added_tokens"] = {{{"id", 256}, {"content", "<end>"}, {"special", true}}};
  const Tokenizer tokenizer = Make(json);
  constexpr int32_t kIds[] = {'a',  0x80, 0x8D, 0x91, 0x9F, 0xA9, 0xBF, 0xC0,
                              0xC3, 0xE0, 0xE4, 0xED, 0xF0, 0xF4, 0xFF, 256};
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::vector<int32_t> ids;
    for (uint64_t i = 0; i < 1 + seed % 12; ++i)
      ids.push_back(kIds[PhiloxAt(seed, 1, i)[0] % std::size(kIds)]);
    for (const bool skip_special : {false, true}) {
      StreamDecoder decoder(tokenizer, skip_special);
      std::string text;
      for (const int32_t id : ids) text += decoder.Push(id).value();
      text += decoder.Finish();
      ASSERT_EQ(text, tokenizer.Decode(ids, skip_special).value()) << testing::PrintToString(ids);
    }
  }
}

}  // namespace
}  // namespace hadal
