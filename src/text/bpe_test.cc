#include "text/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"
#include "text/byte_level.h"

namespace hadal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

bool NoneAdded(int32_t) { return false; }

TokenMap Bytes() {
  TokenMap tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.Insert(ByteLevelCharacter(static_cast<uint8_t>(byte)), byte);
  return tokens;
}

Ids Encode(const Bpe& bpe, std::string_view piece) {
  Bpe::Scratch scratch;
  Ids ids;
  bpe.Encode(piece, scratch, ids);
  return ids;
}

// The definition: again and again the leftmost pair of the lowest rank.
Ids Naive(const std::vector<Merge>& merges, std::string_view piece) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[{merges[i].left, merges[i].right}] = i;
  Ids ids;
  for (const char c : piece) ids.push_back(static_cast<uint8_t>(c));
  while (true) {
    size_t best = merges.size(), place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto at = ranks.find({ids[i], ids[i + 1]});
      if (at != ranks.end() && at->second < best) best = at->second, place = i;
    }
    if (best == merges.size()) return ids;
    ids[place] = merges[best].result;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(place) + 1);
  }
}

// Random merges over three letters, tokens up to eight letters long; every fifth pair is there twice.
TEST(Bpe, EqualsTheDefinitionOnShortAndLongPieces) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint64_t draws = 0;
    const auto below = [&](size_t n) { return PhiloxAt(seed, 0, draws++)[0] % n; };
    TokenMap tokens = Bytes();
    std::vector<std::string> words{"a", "b", "c"};
    std::vector<Merge> merges;
    for (int i = 0; i < 120; ++i) {
      const std::string left = words[below(words.size())], right = words[below(words.size())];
      if (left.size() + right.size() > 8) continue;
      if (tokens.Insert(left + right, tokens.end_id())) words.push_back(left + right);
      merges.push_back({*tokens.Find(left), *tokens.Find(right), *tokens.Find(left + right)});
      if (i % 5 == 0) merges.push_back(merges[below(merges.size())]);
    }
    const Bpe bpe = Bpe::Create(tokens, merges, {}, NoneAdded).value();
    for (size_t length : {0, 1, 2, 3, 5, 8, 20, 47, 48, 49, 50, 200, 1000}) {
      std::string piece;
      for (size_t i = 0; i < length; ++i) piece += static_cast<char>('a' + below(3));
      EXPECT_EQ(Encode(bpe, piece), Naive(merges, piece)) << "seed " << seed << ": " << piece;
    }
  }
}

TEST(Bpe, AMegabyteOfOneLetterIsNotQuadratic) {
  TokenMap tokens = Bytes();
  tokens.Insert("aa", 256);
  tokens.Insert("aaaa", 257);
  const std::vector<Merge> merges{{'a', 'a', 256}, {256, 256, 257}};
  const Bpe bpe = Bpe::Create(tokens, merges, {}, NoneAdded).value();
  EXPECT_EQ(Encode(bpe, std::string((1 << 20) + 3, 'a')).size(), (1u << 18) + 2);
}

TEST(Bpe, IgnoreMergesTakesAWholePieceThatIsAToken) {
  TokenMap tokens = Bytes();
  tokens.Insert("abc", 256);
  EXPECT_THAT(Encode(Bpe::Create(tokens, {}, {}, NoneAdded).value(), "abc"), ElementsAre('a', 'b', 'c'));
  const Bpe bpe = Bpe::Create(tokens, {}, {.ignore_merges = true}, NoneAdded).value();
  EXPECT_THAT(Encode(bpe, "abc"), ElementsAre(256));
  EXPECT_THAT(Encode(bpe, "abcd"), ElementsAre('a', 'b', 'c', 'd'));
}

TEST(Bpe, NeverGivesAnAddedToken) {
  TokenMap tokens = Bytes();
  tokens.Insert("ab", 256);
  const std::vector<Merge> merges{{'a', 'b', 256}};
  for (const bool ignore_merges : {false, true}) {
    const Bpe bpe = Bpe::Create(tokens, merges, {.ignore_merges = ignore_merges}, [](int32_t id) {
                      return id == 256;
                    }).value();
    EXPECT_THAT(Encode(bpe, "ab"), ElementsAre('a', 'b'));
  }
}

// A vocabulary of the bytes but '!' and 0xFF, and some tokens that stand in.
TokenMap WithoutExclamationMark() {
  TokenMap tokens;
  for (int byte = 0; byte < 255; ++byte)
    if (byte != '!') tokens.Insert(ByteLevelCharacter(static_cast<uint8_t>(byte)), byte);
  tokens.Insert("<unk>", 300);
  return tokens;
}

TEST(Bpe, UnknownBytes) {
  TokenMap tokens = WithoutExclamationMark();
  EXPECT_THAT(Bpe::Create(tokens, {}, {}, NoneAdded).error().message, HasSubstr("'!' for the byte 0x21"));
  EXPECT_THAT(Encode(Bpe::Create(tokens, {}, {.unknown_id = 300}, NoneAdded).value(), "a!!b!"),
              ElementsAre('a', 300, 300, 'b', 300));
  EXPECT_THAT(
      Encode(Bpe::Create(tokens, {}, {.unknown_id = 300, .fuse_unknown = true}, NoneAdded).value(), "a!!b!"),
      ElementsAre('a', 300, 'b', 300));
  tokens.Insert("<0x21>", 301);
  EXPECT_THAT(Encode(Bpe::Create(tokens, {}, {.byte_fallback = true}, NoneAdded).value(), "a!!"),
              ElementsAre('a', 301, 301));
}

}  // namespace
}  // namespace hadal
