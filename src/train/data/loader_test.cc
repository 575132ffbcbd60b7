#include "train/data/loader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

namespace hadal::train {
namespace {

/// A folder of `documents` documents; document d is d + 1 times the numbers d * 1000 + position, in shards of
/// several.
class DataFolder {
 public:
  explicit DataFolder(int64_t documents, int64_t longest) {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-data-XXXXXX").string();
    path_ = mkdtemp(name.data());
    TokenIndex index{.vocab_size = 1000000, .tokenizer = "t", .shards = {}};
    std::vector<int32_t> tokens;
    std::vector<uint8_t> flags;
    const auto write = [&] {
      if (tokens.empty()) return;
      const auto number = static_cast<int64_t>(index.shards.size());
      index.shards.push_back(WriteTokenShard(path_ / TokenShardName(number), tokens, flags).value());
      tokens.clear();
      flags.clear();
    };
    for (int64_t d = 0; d < documents; ++d) {
      const int64_t length = 1 + d * 7 % longest;
      for (int64_t t = 0; t < length; ++t) {
        tokens.push_back(static_cast<int32_t>(d * 1000 + t));
        flags.push_back((t == 0 ? kDocumentStart : 0) | (t % 3 ? kLearnt : 0));
      }
      if (d % 10 == 9) write();
    }
    write();
    EXPECT_TRUE(WriteTokenIndex(path_, index));
  }
  ~DataFolder() { std::filesystem::remove_all(path_); }
  const Path& path() const { return path_; }

 private:
  Path path_;
};

LoaderOptions Options() {
  return {.sequence_length = 16, .micro_batch_size = 2, .micro_batches = 4, .first_micro_batch = 0,
          .own_micro_batches = 4, .seed = 9, .prefetch = 3};
}

TEST(EpochPlan, LaysEveryTokenOnceAndFillsWell) {
  const DataFolder folder(200, 40);
  const TokenDataset data = TokenDataset::Open(folder.path(), true).value();
  std::set<std::vector<uint32_t>> orders;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    const EpochPlan plan(data, 16, 5, epoch, true);
    std::map<uint32_t, int64_t> seen;
    std::vector<uint32_t> order;
    for (int64_t s = 0; s < plan.sequences(); ++s) {
      int64_t used = 0;
      for (const DocumentPiece& piece : plan.sequence(s)) {
        const auto count = std::min<int64_t>(
            16, static_cast<int64_t>(data.document(piece.document).tokens.size()) - piece.first);
        used += count;
        seen[piece.document] += count;
        order.push_back(piece.document);
      }
      EXPECT_GT(used, 0);
      EXPECT_LE(used, 16);
    }
    for (int64_t d = 0; d < data.documents(); ++d)
      EXPECT_EQ(seen[static_cast<uint32_t>(d)], static_cast<int64_t>(data.document(d).tokens.size()));
    EXPECT_GT(plan.filled_share(), 0.9);
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 3u);
}

TEST(EpochPlan, RefusesMorePiecesThan32BitsNumber) {
  constexpr int64_t kMost = 0xffff'ffff;
  EXPECT_TRUE(EpochPlan::Check(kMost - 10, 10 * 16, 16));
  const Status documents = EpochPlan::Check(kMost + 1, kMost + 1, 1 << 20);
  const Status tokens = EpochPlan::Check(1, kMost * 16, 16);
  ASSERT_FALSE(documents);
  ASSERT_FALSE(tokens);
  EXPECT_NE(documents.error().message.find("4294967296 documents of 4294967296 tokens"), std::string::npos)
      << documents.error().message;
  EXPECT_NE(tokens.error().message.find("raise sequence_length"), std::string::npos)
      << tokens.error().message;
}

TEST(DataLoader, PlansWhatItsMicroBatchesHold) {
  const DataFolder folder(40, 12);
  const TokenDataset data = TokenDataset::Open(folder.path(), false).value();
  LoaderOptions o = Options();
  uint64_t bytes = 0;
  const std::vector<MicroBatch> batches = DataLoader::Create(data, o).value()->Next().value();
  for (const MicroBatch& batch : batches)
    for (const auto* part : {&batch.tokens, &batch.next, &batch.targets, &batch.targets2, &batch.positions,
                             &batch.first})
      bytes += part->size() * sizeof(int32_t);
  o.prefetch = 5;
  EXPECT_EQ(DataLoader::PlannedBytes(o), 7 * bytes);
}

TEST(DataLoader, GivesEveryReplicaItsPartOfTheSameUpdates) {
  const DataFolder folder(100, 30);
  const TokenDataset data = TokenDataset::Open(folder.path(), true).value();
  const auto whole = DataLoader::Create(data, Options()).value();
  std::vector<std::unique_ptr<DataLoader>> halves;
  for (const int64_t first : {0, 2}) {
    LoaderOptions half = Options();
    half.first_micro_batch = first;
    half.own_micro_batches = 2;
    halves.push_back(DataLoader::Create(data, half).value());
  }
  for (int update = 0; update < 30; ++update) {
    const auto all = whole->Next().value();
    ASSERT_EQ(all.size(), 4u);
    for (size_t r = 0; r < 2; ++r) {
      const auto part = halves[r]->Next().value();
      for (size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(part[i].tokens, all[2 * r + i].tokens);
        EXPECT_EQ(part[i].targets, all[2 * r + i].targets);
      }
    }
    EXPECT_EQ(halves[0]->cursor().Text(), whole->cursor().Text());
  }
  EXPECT_GT(whole->epochs(), 1);
}

TEST(DataLoader, GoesOnWhereACursorPoints) {
  const DataFolder folder(60, 30);
  const TokenDataset data = TokenDataset::Open(folder.path(), false).value();
  const auto first = DataLoader::Create(data, Options()).value();
  std::vector<std::string> cursors;
  std::vector<std::vector<int32_t>> tokens;
  for (int update = 0; update < 25; ++update) {
    cursors.push_back(first->cursor().Text());
    tokens.push_back(first->Next().value()[3].tokens);
  }
  for (size_t at = 0; at < cursors.size(); at += 3) {
    const auto again = DataLoader::Create(data, Options()).value();
    ASSERT_TRUE(again->Seek(DataCursor::Parse(cursors[at]).value()));
    for (size_t update = at; update < std::min(at + 4, cursors.size()); ++update)
      EXPECT_EQ(again->Next().value()[3].tokens, tokens[update]) << "from " << at;
  }
}

TEST(DataLoader, MasksTokensAndDocuments) {
  const DataFolder folder(40, 12);
  const TokenDataset data = TokenDataset::Open(folder.path(), false).value();
  const auto loader = DataLoader::Create(data, Options()).value();
  const std::vector<MicroBatch> batches = loader->Next().value();
  for (const MicroBatch& batch : batches)
    for (int64_t t = 0; t < batch.rows(); ++t) {
      // What is learnt is the document's next token, by the rule that the folder was written with.
      if (batch.targets[t] < 0) continue;
      EXPECT_EQ(batch.targets[t], batch.tokens[t] + 1);
      EXPECT_NE(batch.targets[t] % 1000 % 3, 0);
      EXPECT_EQ(batch.positions[t], batch.tokens[t] % 1000);
    }
}

TEST(DataLoader, RefusesCursorsOfOtherDataAndNonsense) {
  const DataFolder folder(40, 12), other(41, 12);
  const TokenDataset data = TokenDataset::Open(folder.path(), false).value();
  const TokenDataset else_where = TokenDataset::Open(other.path(), false).value();
  const auto loader = DataLoader::Create(data, Options()).value();
  DataCursor cursor = DataLoader::Create(else_where, Options()).value()->cursor();
  EXPECT_FALSE(loader->Seek(cursor));
  cursor = loader->cursor();
  cursor.seed = 8;
  EXPECT_FALSE(loader->Seek(cursor));
  cursor = loader->cursor();
  cursor.length = 17;
  const Status other_length = loader->Seek(cursor);
  ASSERT_FALSE(other_length);
  EXPECT_NE(other_length.error().message.find("sequences of 17 tokens, this one has 16"), std::string::npos)
      << other_length.error().message;
  for (const char* bad :
       {"", "epoch 1", "epoch 1 sequence -2 length 16 seed 9 data 00", "epoch 1 sequence 2 seed 9 data 00",
        "epoch 1 sequence 2 length 16 seed 9 data 0 tail"})
    EXPECT_FALSE(DataCursor::Parse(bad)) << bad;
  LoaderOptions o = Options();
  o.own_micro_batches = 5;
  EXPECT_FALSE(DataLoader::Create(data, o));
}

TEST(EvaluationSet, ShowsEverySequenceOnce) {
  const DataFolder folder(53, 20);
  const TokenDataset data = TokenDataset::Open(folder.path(), false).value();
  const EvaluationSet set(data, Options());
  int64_t learnt = 0, expected = 0;
  for (int64_t u = 0; u < set.updates(); ++u)
    for (const MicroBatch& batch : set.update(u)) learnt += CountTargets(batch).next;
  for (int64_t d = 0; d < data.documents(); ++d) {
    const auto document = data.document(d);
    // A piece's first token is nobody's target.
    for (size_t t = 0; t < document.flags.size(); ++t) expected += t % 16 && (document.flags[t] & kLearnt);
  }
  EXPECT_EQ(learnt, expected);
}

TEST(TokenShards, AreCheckedWhenOpened) {
  const DataFolder folder(40, 12);
  const Path shard = folder.path() / TokenShardName(1);
  const std::string good = ReadFile(shard).value();
  const auto expect = [&](const std::string& bytes, const char* what) {
    std::ofstream(shard, std::ios::binary) << bytes;
    const auto opened = TokenDataset::Open(folder.path(), true);
    ASSERT_FALSE(opened) << what;
    EXPECT_NE(opened.error().message.find(what), std::string::npos) << opened.error().message;
  };
  std::string bad = good;
  bad[bad.size() / 2] ^= 4;
  expect(bad, "is damaged");
  expect(good.substr(0, good.size() - 1), "its index says");
  expect(good.substr(0, 10), "a shard has a header");
  bad = good;
  bad[0] = 'x';
  expect(bad, "is no shard");
  std::filesystem::remove(shard);
  EXPECT_FALSE(TokenDataset::Open(folder.path(), false));
  std::ofstream(shard, std::ios::binary) << good;
  EXPECT_TRUE(TokenDataset::Open(folder.path(), true));
  EXPECT_FALSE(WriteTokenShard(folder.path() / "x", std::vector<int32_t>{1}, std::vector<uint8_t>{0}));
}

}  // namespace
}  // namespace hadal::train
