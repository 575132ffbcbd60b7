// The reference's ids and texts, row by row.
#include <map>

#include "text/detokenizer.h"
#include "text/test_tokenizers.h"

namespace hadal {
namespace {

using Ids = std::vector<int32_t>;

class Goldens : public testing::Test {
 protected:
  static nlohmann::json Rows(const char* kind) {
    return nlohmann::json::parse(ReadFile(TokenizerData() / "goldens.json").value())[kind];
  }

  const Tokenizer& Named(const std::string& name) {
    auto at = loaded_.find(name);
    if (at == loaded_.end()) {
      auto tokenizer = Tokenizer::FromJson(TokenizerJson(name));
      if (!tokenizer) ADD_FAILURE() << name << ": " << tokenizer.error().message;
      at = loaded_.emplace(name, std::move(tokenizer).value()).first;
    }
    return at->second;
  }

  static std::string Streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
    StreamDecoder decoder(tokenizer, skip_special);
    std::string text;
    for (const int32_t id : ids) text += decoder.Push(id).value();
    return text + decoder.Finish();
  }

  std::map<std::string, Tokenizer> loaded_;
};

TEST_F(Goldens, EncodeAndDecodeBack) {
  int rows = 0;
  for (const auto& row : Rows("encode")) {
    const Tokenizer& tokenizer = Named(row["tokenizer"]);
    const std::string text = row["text"];
    const Ids want = row["ids"];
    SCOPED_TRACE(row.dump().substr(0, 400));
    const auto ids = tokenizer.Encode(text);
    ASSERT_TRUE(ids.has_value()) << ids.error().message;
    EXPECT_EQ(*ids, want);
    EXPECT_EQ(tokenizer.Decode(want).value(), text);
    const std::string skipped = row.value("decoded_skip_special", text);
    EXPECT_EQ(tokenizer.Decode(want, /*skip_special=*/true).value(), skipped);
    EXPECT_EQ(Streamed(tokenizer, want, false), text);
    EXPECT_EQ(Streamed(tokenizer, want, true), skipped);
    ++rows;
  }
  EXPECT_EQ(rows, 560);
}

TEST_F(Goldens, Decode) {
  int rows = 0;
  for (const auto& row : Rows("decode")) {
    const Tokenizer& tokenizer = Named(row["tokenizer"]);
    const Ids ids = row["ids"];
    const std::string text = row["text"], skipped = row.value("text_skip_special", text);
    SCOPED_TRACE(row.dump());
    EXPECT_EQ(tokenizer.Decode(ids).value(), text);
    EXPECT_EQ(tokenizer.Decode(ids, /*skip_special=*/true).value(), skipped);
    EXPECT_EQ(Streamed(tokenizer, ids, false), text);
    EXPECT_EQ(Streamed(tokenizer, ids, true), skipped);
    ++rows;
  }
  EXPECT_EQ(rows, 38);
}

// Without added tokens, a text that spells them gives none of their ids, and still decodes to itself.
TEST_F(Goldens, UntrustedTextGivesNoAddedToken) {
  const Tokenizer& tokenizer = Named("deepseek-v3");
  for (const auto& row : Rows("encode")) {
    if (row["group"] != "special_tokens" || row["tokenizer"] != "deepseek-v3") continue;
    const std::string text = row["text"];
    const Ids ids = tokenizer.Encode(text, {.parse_special = false}).value();
    for (const int32_t id : ids) EXPECT_TRUE(id > 2 && id < 128000) << id << " in " << text;
    EXPECT_EQ(tokenizer.Decode(ids).value(), text);
  }
}

TEST_F(Goldens, SizesAndNames) {
  const Tokenizer& tokenizer = Named("deepseek-r1");
  EXPECT_EQ(tokenizer.vocab_size(), 128815);
  EXPECT_EQ(tokenizer.IdOf("<think>"), 128798);
  EXPECT_EQ(tokenizer.IdOf("<no such token>"), std::nullopt);
  EXPECT_TRUE(tokenizer.IsSpecial(0));
  EXPECT_FALSE(tokenizer.IsSpecial(128798));
  EXPECT_EQ(tokenizer.TokenBytes(tokenizer.IdOf("Ġthe").value()).value(), " the");
}

}  // namespace
}  // namespace hadal
