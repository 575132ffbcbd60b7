#include "train/data/prepare.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>
#include <map>
#include <set>

#include "train/data/prepare_test_util.h"

namespace hadal::train {
namespace {

using testing::HasSubstr;

/// Every file below a folder with what is in it.
std::map<std::string, std::string> Contents(const Path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(folder).string()] = ReadFile(entry.path()).value();
  return files;
}

class PrepareTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string lines;
    for (int i = 0; i < 400; ++i)
      lines += i % 3 == 0 ? fmt::format("{{\"text\": \"document {}\"}}\n", i)
                          : fmt::format(
                                "{{\"messages\": [{{\"role\": \"user\", \"content\": \"q{}\"}}, "
                                "{{\"role\": \"assistant\", \"content\": \"{}\"}}]}}\n\n",
                                i, std::string(i % 50 + 1, 'y'));
    folder_.Write("in/a.jsonl", lines);
    folder_.Write("in/deep/b.txt", std::string(5000, 'b'));
    folder_.Write("in/c.txt", "one\n\ntwo\nmore\n \n\n\nthree");
    folder_.Write("in/empty.txt", "");
  }
  PrepareOptions Options(const std::string& out) const {
    PrepareOptions options;
    options.inputs = {folder_ / "in"};
    options.tokenizer = folder_ / "tokenizer";
    options.out = folder_ / out;
    options.held_out = folder_ / (out + "-held-out");
    options.held_out_share = 0.2;
    options.seed = 5;
    options.unit_bytes = 2000;
    options.text_documents = TextDocuments::kBlankLines;
    return options;
  }
  std::string FailureOf(const PrepareOptions& options) {
    const auto report = Prepare(options);
    return report ? "" : report.error().message;
  }
  PrepareFolderForTest folder_;
};

TEST_F(PrepareTest, EveryDocumentOnceAndTheSameForAnyThreads) {
  const PrepareReport report = Prepare(Options("one")).value();
  EXPECT_EQ(report.training.documents + report.held_out.documents, 400 + 1 + 3);
  EXPECT_NEAR(static_cast<double>(report.held_out.documents), 80, 25);
  EXPECT_GT(report.units, 10);
  const auto training = TokenDataset::Open(folder_ / "one", true),
             held = TokenDataset::Open(folder_ / "one-held-out", true);
  ASSERT_TRUE(training) << training.error().message;
  ASSERT_TRUE(held) << held.error().message;
  EXPECT_EQ(training->documents(), report.training.documents);
  EXPECT_EQ(training->tokens(), report.training.tokens);
  EXPECT_EQ(training->index().vocab_size, 262);
  std::set<std::string> seen;
  for (const TokenDataset* set : {&*training, &*held})
    for (int64_t d = 0; d < set->documents(); ++d)
      seen.insert(Shown(set->document(d).tokens, set->document(d).flags));
  EXPECT_EQ(seen.size(), 404u);
  EXPECT_TRUE(seen.contains("^<bos>[document 399<eos>]"));
  EXPECT_TRUE(seen.contains("^<bos>[two\nmore<eos>]"));
  EXPECT_TRUE(seen.contains("^<bos><user>q1<assistant></think>[yy<eos>]"));
  for (const int threads : {2, 3}) {
    PrepareOptions options = Options("more" + std::to_string(threads));
    options.threads = threads;
    ASSERT_TRUE(Prepare(options));
    EXPECT_EQ(Contents(options.out), Contents(folder_ / "one"));
    EXPECT_EQ(Contents(options.held_out), Contents(folder_ / "one-held-out"));
  }
}

TEST_F(PrepareTest, GoesOnAfterAnInterruptionAndMendsWhatIsDamaged) {
  ASSERT_TRUE(Prepare(Options("whole")));
  PrepareOptions options = Options("cut");
  options.progress = [](uint64_t done, uint64_t total) { return done < total / 2; };
  EXPECT_EQ(Prepare(options).error().code, Code::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(options.out / "index.json"));
  folder_.Write("cut/tokens-00099.bin.tmp.1.1", "what a killed run left");
  folder_.Write("cut/tokens-00001.bin", "damage");
  options.progress = nullptr;
  options.threads = 2;
  const PrepareReport report = Prepare(options).value();
  EXPECT_GT(report.reused_units, 2);
  EXPECT_LT(report.reused_units, report.units);
  EXPECT_EQ(Contents(options.out), Contents(folder_ / "whole"));
  EXPECT_EQ(Contents(options.held_out), Contents(folder_ / "whole-held-out"));
  const PrepareReport again = Prepare(options).value();
  EXPECT_EQ(again.reused_units, again.units);
  EXPECT_EQ(again.training, report.training);
}

TEST_F(PrepareTest, AChangedInputIsPreparedAgain) {
  ASSERT_TRUE(Prepare(Options("x")));
  folder_.Write("in/c.txt", "one\n\ntwo\nmoRe\n \n\n\nthree");
  const PrepareReport report = Prepare(Options("x")).value();
  EXPECT_EQ(report.reused_units, report.units - 1);
  folder_.Write("in/c.txt", "shorter");
  EXPECT_THAT(FailureOf(Options("x")), HasSubstr("begun with other 'inputs'"));
}

TEST_F(PrepareTest, RefusesFoldersOfSomethingElse) {
  ASSERT_TRUE(Prepare(Options("x")));
  PrepareOptions options = Options("x");
  options.seed = 6;
  EXPECT_THAT(FailureOf(options), HasSubstr("begun with other 'seed' (5 there, 6 now)"));
  folder_.Write("full/file", "mine");
  EXPECT_THAT(FailureOf(Options("full")), HasSubstr("not empty"));
  options.held_out = options.out;
  EXPECT_THAT(FailureOf(options), HasSubstr("a folder of its own"));
  options = Options("y");
  options.inputs = {folder_ / "tokenizer"};
  EXPECT_THAT(FailureOf(options), HasSubstr("no file that ends in .txt or .jsonl"));
  options.inputs = {folder_ / "tokenizer/tokenizer.json"};
  EXPECT_THAT(FailureOf(options), HasSubstr("neither .txt nor .jsonl"));
  options.inputs = {folder_ / "nothing"};
  EXPECT_THAT(FailureOf(options), HasSubstr("there is no"));
}

TEST_F(PrepareTest, BadLinesAreErrorsByPlaceOrCounted) {
  std::string lines;
  for (int i = 1; i <= 300; ++i) lines += i % 100 == 70 ? "{\"text\": oops}\n" : "{\"text\": \"fine\"}\n";
  folder_.Write("bad.jsonl", lines);
  PrepareOptions options = Options("bad");
  options.inputs = {folder_ / "bad.jsonl"};
  options.unit_bytes = 300;
  for (const int threads : {1, 3}) {
    options.threads = threads;
    EXPECT_THAT(FailureOf(options), HasSubstr("bad.jsonl:70: not JSON"));
  }
  options = Options("skip");
  options.inputs = {folder_ / "bad.jsonl"};
  options.skip_bad = true;
  const PrepareReport report = Prepare(options).value();
  EXPECT_EQ(report.skipped, 3);
  EXPECT_EQ(report.training.documents + report.held_out.documents, 297);
  EXPECT_THAT(report.skipped_examples.at(2), HasSubstr("bad.jsonl:270: "));
}

TEST_F(PrepareTest, AFullDiskIsASentenceAndLosesNothing) {
  PrepareOptions options = Options("small");
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit little { 2000, before.rlim_max };
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
  const std::string failure = FailureOf(options);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old);
  EXPECT_THAT(failure, HasSubstr("cannot write"));
  EXPECT_FALSE(std::filesystem::exists(options.out / "index.json"));
  for (const auto& [name, text] : Contents(options.out))
    EXPECT_THAT(name, testing::Not(HasSubstr(".tmp."))) << name;
  ASSERT_TRUE(Prepare(options));
  ASSERT_TRUE(Prepare(Options("large")));
  EXPECT_EQ(Contents(options.out), Contents(folder_ / "large"));
}

TEST(InputFiles, PiecesHoldEveryDocumentOnceHoweverTheyAreCut) {
  const std::vector<std::pair<std::string, TextDocuments>> cases = {
      {"\n \n\na\nb\n\t\nc\n\n\n\nd", TextDocuments::kBlankLines},
      {"\fa\f\fb\nc\f\n d\n", TextDocuments::kFormFeeds},
      {"whole\n\nfile\f", TextDocuments::kFile}};
  for (const auto& [text, kind] : cases) {
    const auto whole = DocumentsOf(text, {0, 0, text.size()}, false, kind);
    EXPECT_EQ(whole.size(), kind == TextDocuments::kFile ? 1u : 3u);
    if (kind == TextDocuments::kFile) continue;
    for (size_t cut = 1; cut < text.size(); ++cut) {
      auto parts = DocumentsOf(text, {0, 0, cut}, false, kind);
      for (const auto& more : DocumentsOf(text, {0, cut, text.size()}, false, kind)) parts.push_back(more);
      ASSERT_EQ(parts.size(), whole.size()) << cut;
      for (size_t i = 0; i < parts.size(); ++i) {
        EXPECT_EQ(parts[i].text, whole[i].text) << cut;
        EXPECT_EQ(parts[i].offset, whole[i].offset) << cut;
      }
    }
  }
}

}  // namespace
}  // namespace hadal::train
