#include "model/safetensors_writer.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <csignal>

#include "model/safetensors_test_util.h"

namespace hadal {
namespace {

using Writer = TempFolderTest;

std::vector<std::byte> Bytes(size_t count, uint8_t first) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = std::byte{static_cast<uint8_t>(first + i)};
  return bytes;
}

std::vector<std::byte> Stored(const Checkpoint& checkpoint, std::string_view name) {
  std::vector<std::byte> scratch;
  const TensorInfo* tensor = checkpoint.Find(name);
  if (!tensor) return {};
  const auto view = checkpoint.Read(*tensor, 0, tensor->bytes, scratch).value();
  return {view.begin(), view.end()};
}

TEST_F(Writer, RoundTrip) {
  const Path path = folder_ / "f.safetensors";
  auto writer = SafetensorsWriter::Create(path,
                                          {{"ids", DType::kI64, {3}},
                                           {"scalar", DType::kF32, {}},
                                           {"empty", DType::kF32, {0, 5}},
                                           {"odd \"name\"\n ü", DType::kBF16, {2, 3}},
                                           {"packed", DType::kF4, {2, 3}}},
                                          {{"note", "a \"quote\" and ü"}});
  ASSERT_TRUE(writer) << writer.error().message;
  const auto ids = Bytes(24, 1), scalar = Bytes(4, 50), odd = Bytes(12, 60), packed = Bytes(3, 90);
  ASSERT_TRUE(writer->Write("ids", std::span(ids).first(10)));
  ASSERT_TRUE(writer->Write("ids", std::span(ids).subspan(10)));
  ASSERT_TRUE(writer->Write("scalar", scalar));
  ASSERT_TRUE(writer->Write("odd \"name\"\n ü", odd));  // past the empty one
  ASSERT_TRUE(writer->Write("packed", packed));
  EXPECT_FALSE(std::filesystem::exists(path)) << "the name must not appear before Finish";
  ASSERT_TRUE(writer->Finish());
  EXPECT_EQ(FilesInFolder(), 1u);

  const auto checkpoint = Checkpoint::OpenFile(path);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(Stored(**checkpoint, "ids"), ids);
  EXPECT_EQ(Stored(**checkpoint, "scalar"), scalar);
  EXPECT_EQ(Stored(**checkpoint, "odd \"name\"\n ü"), odd);
  EXPECT_EQ(Stored(**checkpoint, "packed"), packed);
  EXPECT_EQ((*checkpoint)->Find("empty")->shape, (std::vector<int64_t>{0, 5}));
  EXPECT_EQ((*checkpoint)->Find("ids")->offset % 64, 0u);
  EXPECT_EQ((*checkpoint)->metadata().at("note"), "a \"quote\" and ü");
  EXPECT_EQ(ReadI64(**checkpoint, "ids")->size(), 3u);
}

TEST_F(Writer, NothingAtAllIsAFileToo) {
  auto writer = SafetensorsWriter::Create(folder_ / "f", {});
  ASSERT_TRUE(writer) << writer.error().message;
  ASSERT_TRUE(writer->Finish());
  const auto checkpoint = Checkpoint::OpenFile(folder_ / "f");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_TRUE((*checkpoint)->tensors().empty());
}

TEST_F(Writer, DeclarationsAreChecked) {
  auto expect = [&](std::vector<TensorDeclaration> tensors, Code code, std::string_view part) {
    ExpectError(SafetensorsWriter::Create(folder_ / "f", std::move(tensors)), code, part);
  };
  const Code invalid = Code::kInvalidArgument;
  expect({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}, invalid, "'a' is declared twice");
  expect({{"__metadata__", DType::kU8, {1}}}, invalid, "cannot be called __metadata__");
  expect({{"\xff", DType::kU8, {1}}}, invalid, "not valid UTF-8");
  expect({{"a", DType::kU8, {-1}}}, invalid, "negative dimension");
  expect({{"a", DType::kF4, {3}}}, invalid, "do not fill whole bytes");
  expect({{"a", DType::kU8, {int64_t{1} << 40, int64_t{1} << 40}}}, invalid, "64 bits");
  expect({{"a", DType::kU8, std::vector<int64_t>(17, 1)}}, invalid, "has 17 dimensions");
  ExpectError(SafetensorsWriter::Create(folder_ / "f", {}, {{"k", "\xff"}}), invalid,
              "metadata 'k' is not valid");
  ExpectError(SafetensorsWriter::Create(folder_ / "no" / "f", {}), Code::kNotFound, "no");
  EXPECT_EQ(FilesInFolder(), 0u);
}

TEST_F(Writer, ATensorMayBeginAtAnyByte) {
  auto writer = SafetensorsWriter::Create(folder_ / "f", {{"a", DType::kU8, {3}}, {"b", DType::kF32, {2}}});
  ASSERT_TRUE(writer) << writer.error().message;
  const float values[] = {1.5f, -2};
  ASSERT_TRUE(writer->Write("a", Bytes(3, 0)));
  ASSERT_TRUE(writer->Write("b", std::as_bytes(std::span(values))));
  ASSERT_TRUE(writer->Finish());
  const auto checkpoint = Checkpoint::OpenFile(folder_ / "f");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ((*checkpoint)->Find("b")->offset % 4, 3u);
  EXPECT_EQ(ReadF32(**checkpoint, "b").value(), (std::vector<float>{1.5f, -2}));
}

TEST_F(Writer, TensorsComeInTurnAndInFull) {
  auto writer = SafetensorsWriter::Create(folder_ / "f", {{"a", DType::kU8, {4}}, {"b", DType::kU8, {2}}});
  ASSERT_TRUE(writer);
  ExpectError(writer->Write("b", Bytes(2, 0)), Code::kInvalidArgument,
              "not the turn of tensor 'b', but of 'a'");
  ExpectError(writer->Write("a", Bytes(5, 0)), Code::kInvalidArgument,
              "has 4 bytes, 5 more were given after 0");
  ASSERT_TRUE(writer->Write("a", Bytes(3, 0)));
  ExpectError(writer->Finish(), Code::kFailedPrecondition, "tensor 'a' has 4 bytes, 3 were written");
  ASSERT_TRUE(writer->Write("a", Bytes(1, 3)));
  ASSERT_TRUE(writer->Write("b", Bytes(2, 4)));
  ExpectError(writer->Write("a", {}), Code::kInvalidArgument, "turn");
  ASSERT_TRUE(writer->Finish());
  ExpectError(writer->Finish(), Code::kFailedPrecondition, "cannot be finished");
  ExpectError(writer->Write("b", {}), Code::kFailedPrecondition, "no more bytes");
  EXPECT_EQ(Stored(*Checkpoint::OpenFile(folder_ / "f").value(), "b"), Bytes(2, 4));
}

TEST_F(Writer, AbandonedFileLeavesNothing) {
  {
    auto writer = SafetensorsWriter::Create(folder_ / "f", {{"a", DType::kU8, {4}}});
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->Write("a", Bytes(2, 0)));
    EXPECT_EQ(FilesInFolder(), 1u);
  }
  EXPECT_EQ(FilesInFolder(), 0u);
}

TEST_F(Writer, TooLittleDiskIsRefusedBeforeWriting) {
  const int64_t petabyte = int64_t{1} << 50;
  ExpectError(SafetensorsWriter::Create(folder_ / "f", {{"a", DType::kU8, {petabyte}}}),
              Code::kResourceExhausted, "bytes of disk, and ");
  ExpectError(ShardedWriter::Create(folder_, {{"a", DType::kU8, {petabyte}}, {"b", DType::kU8, {petabyte}}}),
              Code::kResourceExhausted, "needs 22517998136");  // both, and their headers
  EXPECT_EQ(FilesInFolder(), 0u);
}

/// The process may write no file beyond `bytes`, as if the disk were full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_;
  void (*old_handler_)(int);
};

TEST_F(Writer, FailedWriteLeavesTheOldFileAndNothingElse) {
  Put("f", SafetensorsBytes(OneTensor("old"), 4));
  {
    auto writer = SafetensorsWriter::Create(folder_ / "f", {{"a", DType::kU8, {100'000}}});
    ASSERT_TRUE(writer);
    {
      const FileSizeLimit limit(50'000);
      const auto status = writer->Write("a", Bytes(100'000, 0));
      ASSERT_FALSE(status);
      EXPECT_NE(status.error().message.find("f.tmp"), std::string::npos) << status.error().message;
    }
    // The disk has room again, but what is in the file is unknown.
    ExpectError(writer->Write("a", Bytes(100'000, 0)), Code::kFailedPrecondition, "a write failed");
    ExpectError(writer->Finish(), Code::kFailedPrecondition, "a write failed");
  }
  EXPECT_EQ(FilesInFolder(), 1u);
  EXPECT_TRUE(Checkpoint::OpenFile(folder_ / "f").value()->Find("old"));
}

TEST_F(Writer, DiskThatFillsUpNamesTheFile) {
  if (mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "needs the right to mount";
  struct Unmount {
    const Path& path;
    ~Unmount() { umount(path.c_str()); }
  } unmount{folder_};
  {
    ExpectError(SafetensorsWriter::Create(folder_ / "f", {{"a", DType::kU8, {2'000'000}}}),
                Code::kResourceExhausted, "f needs 2000128 bytes of disk, and 1048576 are free");
    auto writer = SafetensorsWriter::Create(folder_ / "f", {{"a", DType::kU8, {900'000}}});
    ASSERT_TRUE(writer) << writer.error().message;
    Put("other", std::string(500'000, 'x'));
    ExpectError(writer->Write("a", Bytes(900'000, 0)), Code::kResourceExhausted, "No space left");
  }
  EXPECT_EQ(FilesInFolder(), 1u) << "only the other file";
}

std::vector<TensorDeclaration> SixTensors() {
  std::vector<TensorDeclaration> tensors;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) tensors.push_back({name, DType::kU8, {40}});
  return tensors;
}

TEST_F(Writer, ShardedRoundTrip) {
  auto writer =
      ShardedWriter::Create(folder_ / "model", SixTensors(), {.max_shard_bytes = 100, .metadata = {}});
  ASSERT_TRUE(writer) << writer.error().message;
  EXPECT_EQ(writer->shard_count(), 3u);
  ExpectError(writer->Write("c", Bytes(40, 0)), Code::kFailedPrecondition,
              "tensor 'a' has 40 bytes, 0 were written");
  uint8_t first = 0;
  for (const TensorDeclaration& tensor : SixTensors()) {
    EXPECT_FALSE(std::filesystem::exists(folder_ / "model" / "model.safetensors.index.json"));
    ASSERT_TRUE(writer->Write(tensor.name, Bytes(40, first++)));
  }
  ExpectError(writer->Write("a", Bytes(1, 0)), Code::kInvalidArgument, "not the turn of tensor 'a'");
  ExpectError(writer->Write("z", Bytes(1, 0)), Code::kInvalidArgument, "'z' was not declared");
  ASSERT_TRUE(writer->Finish());
  ExpectError(writer->Finish(), Code::kFailedPrecondition, "cannot be finished");

  const auto checkpoint = Checkpoint::Open(folder_ / "model");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ((*checkpoint)->TotalBytes(), 240u);
  EXPECT_EQ(Stored(**checkpoint, "f"), Bytes(40, 5));
  EXPECT_EQ((*checkpoint)->Find("f")->shard, 2u);
  EXPECT_EQ((*checkpoint)->metadata().at("format"), "pt");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "model" / "model-00003-of-00003.safetensors"));
  const std::string index = ReadFile(folder_ / "model" / "model.safetensors.index.json").value();
  EXPECT_NE(index.find("\"total_size\": 240"), std::string::npos) << index;
  EXPECT_NE(index.find("\"c\": \"model-00002-of-00003.safetensors\""), std::string::npos) << index;
}

TEST_F(Writer, OneShardIsASingleFileWithoutIndex) {
  auto writer = ShardedWriter::Create(folder_, SixTensors());
  ASSERT_TRUE(writer) << writer.error().message;
  for (const TensorDeclaration& tensor : SixTensors()) ASSERT_TRUE(writer->Write(tensor.name, Bytes(40, 7)));
  ASSERT_TRUE(writer->Finish());
  EXPECT_EQ(FilesInFolder(), 1u);
  EXPECT_EQ(Checkpoint::Open(folder_).value()->tensors().size(), 6u);
  ExpectError(ShardedWriter::Create(folder_, SixTensors()), Code::kFailedPrecondition,
              "already holds model.safetensors");
}

TEST_F(Writer, TensorLargerThanAShardStandsAlone) {
  auto writer = ShardedWriter::Create(folder_,
                                      {{"a", DType::kU8, {10}},
                                       {"big", DType::kU8, {500}},
                                       {"none", DType::kU8, {0}},
                                       {"z", DType::kU8, {10}}},
                                      {.max_shard_bytes = 100, .metadata = {}});
  ASSERT_TRUE(writer) << writer.error().message;
  EXPECT_EQ(writer->shard_count(), 3u);
  ASSERT_TRUE(writer->Write("a", Bytes(10, 0)));
  ASSERT_TRUE(writer->Write("big", Bytes(500, 0)));
  ASSERT_TRUE(writer->Write("z", Bytes(10, 0)));
  ASSERT_TRUE(writer->Finish());
  { const ShardedWriter finished = std::move(*writer); }  // whose end removes nothing any more
  EXPECT_EQ(Checkpoint::Open(folder_).value()->Find("none")->bytes, 0u);
}

TEST_F(Writer, ShardedFailureRemovesTheFinishedShards) {
  {
    auto writer = ShardedWriter::Create(folder_, SixTensors(), {.max_shard_bytes = 100, .metadata = {}});
    ASSERT_TRUE(writer);
    for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(writer->Write(name, Bytes(40, 0)));
    EXPECT_TRUE(std::filesystem::exists(folder_ / "model-00001-of-00003.safetensors"));
    ExpectError(writer->Finish(), Code::kFailedPrecondition, "tensor 'e' was not written");
    auto moved = std::move(*writer);  // the moved-from writer owns nothing any more
  }
  EXPECT_EQ(FilesInFolder(), 0u);
  ExpectError(ShardedWriter::Create(
                  folder_, {{"a", DType::kU8, {60}}, {"b", DType::kU8, {60}}, {"a", DType::kU8, {60}}},
                  {.max_shard_bytes = 100, .metadata = {}}),
              Code::kInvalidArgument, "'a' is declared twice");
  ExpectError(ShardedWriter::Create(Put("file", "x"), {}), Code::kInvalidArgument, "cannot be made one");
}

}  // namespace
}  // namespace hadal
