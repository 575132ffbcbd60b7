#include "model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "model/safetensors_test_util.h"

namespace hadal {
namespace {

Path Golden(const char* name) { return Path(HADAL_TEST_DATA) / "golden" / name; }

std::vector<int64_t> ShapeOf(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.Find(name);
  return tensor ? tensor->shape : std::vector<int64_t>{-1};
}

TEST(Checkpoint, OpensTheGoldenFolders) {
  for (const char* name :
       {"v3-tiny-f32", "v3-tiny-bf16", "v3-tiny-fp8", "moonlight-tiny", "v2lite-tiny", "v3-tiny-mtp"}) {
    SCOPED_TRACE(name);
    const auto model = Checkpoint::Open(Golden(name));
    ASSERT_TRUE(model) << model.error().message;
    const std::vector<int64_t> embedding = ShapeOf(**model, "model.embed_tokens.weight");
    ASSERT_EQ(embedding.size(), 2u);
    EXPECT_EQ(embedding, ShapeOf(**model, "lm_head.weight"));
    EXPECT_EQ(ShapeOf(**model, "model.norm.weight"), std::vector<int64_t>{embedding[1]});
    EXPECT_GT((*model)->TotalBytes(), 900'000u);
    EXPECT_TRUE((*model)->Verify());

    const auto golden = Checkpoint::OpenFile(Golden(name) / "golden.safetensors");
    ASSERT_TRUE(golden) << golden.error().message;
    EXPECT_EQ(ReadI64(**golden, "p0.input_ids").value().size(), 7u);
    EXPECT_EQ(ReadF32(**golden, "p0.logits").value().size(), 7u * static_cast<size_t>(embedding[0]));
    EXPECT_TRUE((*golden)->metadata().contains("softmax_scale"));
  }
}

TEST(Checkpoint, GoldenShapesAreThoseOfTheirConfigs) {
  const auto fp8 = Checkpoint::Open(Golden("v3-tiny-fp8"));
  ASSERT_TRUE(fp8) << fp8.error().message;
  const TensorInfo* down = (*fp8)->Find("model.layers.0.self_attn.kv_a_proj_with_mqa.weight");
  ASSERT_TRUE(down);
  EXPECT_EQ(down->dtype, DType::kF8E4M3);
  EXPECT_EQ(down->shape[0], 576);
  EXPECT_EQ(ShapeOf(**fp8, down->name + "_scale_inv"),
            (std::vector<int64_t>{5, (down->shape[1] + 127) / 128}));
  EXPECT_EQ((*fp8)->Find("model.layers.0.self_attn.kv_a_proj_with_mqa"), nullptr);
  EXPECT_EQ((*fp8)->Find(""), nullptr);
  EXPECT_EQ((*fp8)->Find("~"), nullptr);

  const auto units = Checkpoint::OpenFile(Golden("units") / "act_quant.safetensors");
  ASSERT_TRUE(units) << units.error().message;
  EXPECT_EQ(ShapeOf(**units, "x"), (std::vector<int64_t>{12, 384}));
  ExpectError(ReadI64(**units, "x"), Code::kInvalidArgument, "tensor 'x' is F32, I64 is needed");
  ExpectError(ReadF32(**units, "y"), Code::kNotFound, "no tensor 'y'");
}

using CheckpointTest = TempFolderTest;

/// {"weight_map": {…}} of "tensor:file" pairs.
std::string Index(const std::vector<std::pair<std::string, std::string>>& map) {
  std::string json;
  for (const auto& [tensor, file] : map)
    json += fmt::format("{}\"{}\":\"{}\"", json.empty() ? "" : ",", tensor, file);
  return R"({"metadata":{"total_size":8},"weight_map":{)" + json + "}}";
}

TEST_F(CheckpointTest, FolderMissingOrNoneOrWithoutWeights) {
  ExpectError(Checkpoint::Open(folder_ / "none"), Code::kNotFound, "no such folder");
  ExpectError(Checkpoint::Open(Put("file", "x")), Code::kInvalidArgument, "file is not a folder");
  ExpectError(Checkpoint::Open(folder_), Code::kNotFound, "holds no weights: neither model.safetensors nor");
  ExpectError(Checkpoint::OpenFile(folder_ / "none"), Code::kNotFound, "none");
  ExpectError(Checkpoint::OpenFile(folder_), Code::kInvalidArgument, "not a regular file");
}

TEST_F(CheckpointTest, SingleFileIsTakenBeforeTheIndex) {
  Put("model.safetensors", SafetensorsBytes(OneTensor("single"), 4));
  Put("model.safetensors.index.json", "not even JSON");
  const auto checkpoint = Checkpoint::Open(folder_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_TRUE((*checkpoint)->Find("single"));
}

TEST_F(CheckpointTest, ShardsAreMerged) {
  Put("s2.safetensors", SafetensorsBytes(OneTensor("a"), 4));
  Put("s1.safetensors", SafetensorsBytes(R"({"__metadata__":{"k":"v"},)" + OneTensor("b").substr(1), 4));
  Put("unnamed.safetensors", "ignored");
  Put("model.safetensors.index.json", Index({{"b", "s1.safetensors"}, {"a", "s2.safetensors"}}));
  const auto checkpoint = Checkpoint::Open(folder_);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  ASSERT_EQ((*checkpoint)->tensors().size(), 2u);
  EXPECT_EQ((*checkpoint)->tensors()[0].name, "a");
  EXPECT_EQ((*checkpoint)->tensors()[0].shard, 1u);
  EXPECT_EQ((*checkpoint)->TotalBytes(), 8u);
  EXPECT_EQ((*checkpoint)->metadata().at("k"), "v");
}

TEST_F(CheckpointTest, IndexAndShardsMustAgree) {
  Put("s1.safetensors", SafetensorsBytes(OneTensor("a"), 4));
  Put("s2.safetensors", SafetensorsBytes(OneTensor("b"), 4));
  auto expect = [&](const std::vector<std::pair<std::string, std::string>>& map, Code code,
                    std::string_view part) {
    SCOPED_TRACE(part);
    Put("model.safetensors.index.json", Index(map));
    ExpectError(Checkpoint::Open(folder_), code, part);
  };
  const char *s1 = "s1.safetensors", *s2 = "s2.safetensors";
  expect({{"a", s1}, {"b", s2}, {"c", s2}}, Code::kDataLoss,
         "'c' is in s2.safetensors, and no shard holds it");
  expect({{"a", s1}, {"b", "s3.safetensors"}}, Code::kNotFound, "s3.safetensors is missing");
  expect({{"a", s2}, {"b", s1}}, Code::kDataLoss, "'a' is in s2.safetensors, and it is in s1.safetensors");
  expect({{"c", s1}, {"b", s2}}, Code::kDataLoss, "does not name tensor 'a', which s1.safetensors holds");
  Put("s2.safetensors", SafetensorsBytes(OneTensor("a"), 4));
  expect({{"a", s1}, {"b", s2}}, Code::kDataLoss, "'a' is in two shards, s1.safetensors and s2.safetensors");
  Put("s2.safetensors", SafetensorsBytes(OneTensor("b"), 3));
  expect({{"a", s1}, {"b", s2}}, Code::kDataLoss, "s2.safetensors: tensor 'b' ends at byte 4");
  Put("s2.safetensors", SafetensorsBytes(OneTensor("b"), 4));
  Put("model.safetensors.index.json", Index({{"a", s1}, {"b", s2}}));
  EXPECT_TRUE(Checkpoint::Open(folder_));
}

TEST_F(CheckpointTest, IndexCannotLeadOutOfTheFolder) {
  Put("s.safetensors", SafetensorsBytes(OneTensor("a"), 4));
  for (const char* name : {"../s.safetensors", "/etc/s.safetensors", "sub/s.safetensors", "..",
                           ".safetensors", "", "a\\\\s.safetensors", "s\\u0000.safetensors"}) {
    SCOPED_TRACE(name);
    Put("model.safetensors.index.json", Index({{"a", name}}));
    ExpectError(Checkpoint::Open(folder_), Code::kDataLoss, "is not a plain file name");
  }
  Put("model.safetensors.index.json", Index({{"a", "pytorch_model.bin"}}));
  ExpectError(Checkpoint::Open(folder_), Code::kUnsupported, "does not end in .safetensors");
}

TEST_F(CheckpointTest, BrokenIndexIsRefused) {
  auto expect = [&](std::string_view text, std::string_view part) {
    SCOPED_TRACE(text.substr(0, 100));
    Put("model.safetensors.index.json", text);
    ExpectError(Checkpoint::Open(folder_), Code::kDataLoss, part);
  };
  expect("", "index.json: the index is not valid JSON");
  expect("[]", "not a JSON object");
  expect("{}", "has no weight_map");
  expect(R"({"weight_map":{},"weight_map":{}})", "has weight_map twice");
  expect(R"({"weight_map":[]})", "weight_map is not an object");
  expect(R"({"weight_map":{"a":1}})", "the file of tensor 'a' is not a string");
  expect(R"({"weight_map":{"a":"s.safetensors","a":"s.safetensors"}})", "names tensor 'a' twice");
  expect("{\"weight_map\":{\"\xff\":\"s.safetensors\"}}", "not valid UTF-8");
  expect(R"({"weight_map":)" + std::string(1000, '[') + std::string(1000, ']') + "}",
         "nested more than 16 deep");
}

TEST_F(CheckpointTest, LinksAreFollowedAndPipesRefused) {
  std::filesystem::create_directories(folder_ / "snapshot");
  Put("blob", SafetensorsBytes(OneTensor("a"), 4));
  const Path link = folder_ / "snapshot" / "model.safetensors";  // as the Hugging Face cache has it
  std::filesystem::create_symlink("../blob", link);
  EXPECT_TRUE(Checkpoint::Open(folder_ / "snapshot"));
  std::filesystem::remove(folder_ / "blob");
  ExpectError(Checkpoint::Open(folder_ / "snapshot"), Code::kNotFound, "model.safetensors");
  std::filesystem::remove(link);
  ASSERT_EQ(mkfifo(link.c_str(), 0600), 0);
  ExpectError(Checkpoint::Open(folder_ / "snapshot"), Code::kInvalidArgument, "not a regular file");
}

TEST_F(CheckpointTest, ReadKeepsInsideTheTensor) {
  const auto checkpoint = Checkpoint::OpenFile(Put("f", SafetensorsBytes(OneTensor("a"), 4)));
  ASSERT_TRUE(checkpoint);
  const TensorInfo& a = *(*checkpoint)->Find("a");
  std::vector<std::byte> scratch;
  EXPECT_EQ((*checkpoint)->Read(a, 0, 4, scratch)->size(), 4u);
  EXPECT_EQ((*checkpoint)->Read(a, 4, 0, scratch)->size(), 0u);
  ExpectError((*checkpoint)->Read(a, 0, 5, scratch), Code::kInvalidArgument, "tensor 'a'");
  ExpectError((*checkpoint)->Read(a, 5, 0, scratch), Code::kInvalidArgument, "it has 4");
  ExpectError((*checkpoint)->Read(a, 1, UINT64_MAX, scratch), Code::kInvalidArgument, "it has 4");
  (*checkpoint)->Release(a, 0, UINT64_MAX);
  (*checkpoint)->Release(a, 5, 1);
  EXPECT_EQ((*checkpoint)->Read(a, 3, 1, scratch)->front(), std::byte{3});
}

// Truncation under a mapping is the harsh case: touching the lost page would end the process with SIGBUS.
TEST_F(CheckpointTest, ChangedWhileMapped) {
  const std::string bytes = SafetensorsBytes(OneTensor("a"), 4);
  for (int kind = 0; kind < 3; ++kind) {
    SCOPED_TRACE(kind);
    const Path path = Put("f", bytes);
    const auto checkpoint = Checkpoint::OpenFile(path);
    ASSERT_TRUE(checkpoint);
    ASSERT_TRUE((*checkpoint)->Verify());
    if (kind == 0) std::filesystem::resize_file(path, 0);
    if (kind == 1) std::ofstream(path, std::ios::app) << "x";
    if (kind == 2) {
      std::fstream(path, std::ios::in | std::ios::out) << "\x7f";
      // The clock of file times ticks every few milliseconds; a tick later is what a real change shows.
      std::filesystem::last_write_time(
          path, std::filesystem::file_time_type::clock::now() + std::chrono::seconds(1));
    }
    ExpectError((*checkpoint)->Verify(), Code::kDataLoss, "changed while it was read");
    std::vector<std::byte> scratch;
    ExpectError((*checkpoint)->Read(*(*checkpoint)->Find("a"), 0, 4, scratch), Code::kDataLoss,
                "changed while");
    ExpectGoodFileOpens();
  }
  // Replacing the file by another leaves the mapped one as it was.
  const Path path = Put("f", bytes);
  const auto checkpoint = Checkpoint::OpenFile(path);
  ASSERT_TRUE(checkpoint);
  Put("f", "other");
  EXPECT_TRUE((*checkpoint)->Verify());
}

TEST(Checkpoint, ManyThreadsReadTheSameBytes) {
  const auto checkpoint = Checkpoint::Open(Golden("v3-tiny-bf16"));
  ASSERT_TRUE(checkpoint);
  auto sum = [&] {
    uint64_t total = 0;
    std::vector<std::byte> scratch;
    for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
      const auto bytes = (*checkpoint)->Read(tensor, 0, tensor.bytes, scratch).value();
      for (std::byte b : bytes) total = total * 31 + std::to_integer<uint64_t>(b);
      (*checkpoint)->Release(tensor, 0, tensor.bytes);
    }
    return total;
  };
  const uint64_t want = sum();
  std::vector<std::thread> threads;
  std::vector<uint64_t> got(4);
  for (uint64_t& result : got) threads.emplace_back([&] { result = sum(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(got, testing::Each(want));
}

}  // namespace
}  // namespace hadal
