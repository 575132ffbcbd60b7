// Everything that can be wrong is said in one sentence with exit code 2, and no output file is left.
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <regex>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

class Errors : public CliTest {
 protected:
  Outcome Logits(const std::string& model, std::vector<std::string> more = {"--ids", "1,2,3"}) {
    std::vector<std::string> arguments{"logits", "--model", model, "--out", File("out/l.safetensors")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::filesystem::create_directory(folder_ / "out");
    const Outcome outcome = Hadal(arguments);
    EXPECT_TRUE(std::filesystem::is_empty(folder_ / "out")) << "something was left behind";
    return outcome;
  }
  /// A copy of a golden folder in which `file` reads differently.
  std::string Edited(const std::string& golden, const std::string& from, const std::string& to) {
    const std::string copy = Copy(Golden(golden), "edited");
    const std::string config = Contents("edited/config.json");
    const std::string changed = std::regex_replace(config, std::regex(from), to);
    EXPECT_NE(config, changed) << from;
    Write("edited/config.json", changed);
    return copy;
  }
};

TEST_F(Errors, MissingFolder) {
  ExpectFailure(Logits(File("nowhere")), "nowhere");
  ExpectFailure(Hadal({"run", "--model", File("nowhere"), "hi"}), "nowhere");
  ExpectFailure(Hadal({"run", "hi"}, {.environment = {"HADAL_MODEL=" + File("nowhere")}}), "nowhere");
}

TEST_F(Errors, MissingFiles) {
  std::filesystem::create_directory(folder_ / "empty");
  ExpectFailure(Logits(File("empty")), "config.json");
  const std::string copy = Copy(Golden("v3-tiny-bf16"), "copy");
  std::filesystem::remove(folder_ / "copy/model-00002-of-00003.safetensors");
  ExpectFailure(Logits(copy), "model-00002-of-00003.safetensors");
  ExpectFailure(Hadal({"run", "--model", Golden("v3-tiny-f32"), "hi"}), "tokenizer.json");
  ExpectFailure(Logits(Golden("v3-tiny-f32"), {"--ids", "@" + File("no-ids")}), "no-ids");
}

TEST_F(Errors, TruncatedShard) {
  const std::string copy = Copy(Golden("v3-tiny-bf16"), "copy");
  const Path shard = folder_ / "copy/model-00003-of-00003.safetensors";
  std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1000);
  ExpectFailure(Logits(copy), "model-00003-of-00003.safetensors");
}

TEST_F(Errors, WrongShape) {
  ExpectFailure(
      Logits(Edited("v3-tiny-f32", R"("moe_intermediate_size": *\d+)", "\"moe_intermediate_size\": 24")),
      "24");
}

TEST_F(Errors, IdsAndLengths) {
  const std::string model = Golden("v3-tiny-f32");
  ExpectFailure(Logits(model, {"--ids", "1,512"}),
                "id 512 at place 1 of sequence 0 is outside the vocabulary");
  ExpectFailure(Logits(model, {"--ids", "1", "--ids", "-1"}), "id -1");
  ExpectFailure(Logits(model, {"--ids", "1,x"}), "'x' is no token id");
  ExpectFailure(Logits(model, {"--ids", "99999999999"}), "no token id");
  ExpectFailure(Logits(model, {"--ids", ","}), "no token ids");
  ExpectFailure(Logits(model, {"--ids", "1,2,3", "--context", "2"}), "the context is 2");
  ExpectFailure(Logits(model, {"--ids", "1", "--greedy", "100000000"}), "positions");
  ExpectFailure(Logits(model, {"--ids", "1", "--context", "100000000"}), "max_position_embeddings");
  ExpectFailure(Hadal({"run", "--model", Model(), "--context", "3", "a long prompt for a short context"}),
                "in a context of 3");
}

TEST_F(Errors, TooLittleMemory) {
  const std::string big =
      Edited("v3-tiny-f32", R"("max_position_embeddings": *\d+)", "\"max_position_embeddings\": 2000000000");
  const Outcome outcome = Logits(big, {"--ids", "1", "--context", "2000000000"});
  ExpectFailure(outcome, "is available");
  EXPECT_THAT(outcome.err, testing::HasSubstr("GB of memory"));
}

TEST_F(Errors, BadFlags) {
  ExpectFailure(Hadal({}), "hadal --help");
  ExpectFailure(Hadal({"lgits"}), "the nearest is 'logits'");
  ExpectFailure(Hadal({"logits", "--ids", "1"}), "--out is required");
  ExpectFailure(Hadal({"logits", "--idz", "1"}), "the nearest is --ids");
  ExpectFailure(Hadal({"run", "--threads", "many", "hi"}), "'many' is not a number");
  ExpectFailure(Hadal({"run", "--weights", "int2", "hi"}), "not one of as-stored, int8, int4");
  ExpectFailure(Hadal({"run", "--temperature", "101", "hi"}), "from 0 to 100");
  ExpectFailure(Hadal({"run", "--hello"}), "there is no flag --hello");
  ExpectFailure(Hadal({"run", "--", "--hello", "there"}), "'there' was not expected");
  ExpectFailure(Hadal({"bench", "modle"}), "hadal bench --help");
  ExpectFailure(Hadal({"run", "hi"}, {.environment = {"HADAL_SAMPLING_TOP_P=2"}}), "from 0 to 1");
  ExpectFailure(Logits(Golden("v3-tiny-fp8"), {"--ids", "1", "--act-quant", "f32"}), "needs --compute f32");
}

TEST_F(Errors, BiasOfAnIdThatNoTokenHasIsFoundBeforeLoading) {
  // The model has more rows of logits than its tokenizer has ids; loading would stumble over the weights.
  std::string config = (Model(), Contents("model/config.json"));
  const std::string vocab = "\"vocab_size\": 512";
  ASSERT_NE(config.find(vocab), std::string::npos);
  Write("model/config.json", config.replace(config.find(vocab), vocab.size(), "\"vocab_size\": 600"));
  ExpectFailure(Hadal({"run", "--model", Model(), "--logit-bias", "550:1", "hi"}),
                "names token 550; the vocabulary has ids 0 to 511");
}

TEST_F(Errors, OutputThatCannotBe) {
  const std::string model = Golden("v3-tiny-f32");
  ExpectFailure(Hadal({"logits", "--model", model, "--ids", "1", "--out", File("no/such/x")}),
                "there is no folder");
  ExpectFailure(Hadal({"logits", "--model", model, "--ids", "1", "--out", folder_.string()}),
                "it is a folder");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(Errors, FullDisk) {
  const Path disk = folder_ / "disk";
  std::filesystem::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "needs the right to mount";
  const Outcome logits =
      Hadal({"logits", "--model", Golden("v3-tiny-f32"), "--ids",
             "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33",
             "--out", (disk / "l.safetensors").string()});
  const Outcome synth = Hadal({"synth", "--shape", "v3-tiny", "--out", (disk / "model").string()});
  const bool clean = std::filesystem::is_empty(disk);
  umount(disk.c_str());
  ExpectFailure(logits, "disk");
  ExpectFailure(synth, "disk");
  EXPECT_TRUE(clean);
}

}  // namespace
}  // namespace hadal::e2e
