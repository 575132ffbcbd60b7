#include "base/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace hadal {
namespace {

class FileTest : public testing::Test {
 protected:
  FileTest() : folder_(testing::TempDir() + "hadal_file_test." + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~FileTest() override { std::filesystem::remove_all(folder_); }
  size_t FilesInFolder() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++count;
    return count;
  }
  Path folder_;
};

TEST_F(FileTest, AtomicFileAppearsOnlyAtCommit) {
  const Path path = folder_ / "a";
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->Write("half"));
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  EXPECT_EQ(FilesInFolder(), 0u) << "an abandoned temporary file stayed";
  ASSERT_TRUE(WriteFileAtomic(path, "whole"));
  EXPECT_EQ(ReadFile(path).value(), "whole");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(FileTest, ErrorsNameThePathAndTheCause) {
  const auto missing = ReadFile(folder_ / "none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("none"), std::string::npos);
  EXPECT_FALSE(AtomicFile::Create(folder_ / "no" / "folder"));
  EXPECT_EQ(MappedFile::Open(folder_).error().code, Code::kInvalidArgument);
}

TEST_F(FileTest, ReadFileHoldsItsLimit) {
  ASSERT_TRUE(WriteFileAtomic(folder_ / "a", std::string(100, 'x')));
  EXPECT_TRUE(ReadFile(folder_ / "a", 100));
  EXPECT_EQ(ReadFile(folder_ / "a", 99).error().code, Code::kResourceExhausted);
}

TEST_F(FileTest, MappedFileNoticesAChange) {
  ASSERT_TRUE(WriteFileAtomic(folder_ / "a", "abc"));
  auto file = MappedFile::Open(folder_ / "a");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->bytes().size(), 3u);
  EXPECT_TRUE(file->StillSame());
  std::ofstream(folder_ / "a", std::ios::app) << "d";
  EXPECT_EQ(file->StillSame().error().code, Code::kDataLoss);
}

}  // namespace
}  // namespace hadal
