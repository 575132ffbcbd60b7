// For the tests of checkpoints: a folder of their own, and safetensors files made by hand, right or wrong.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"
#include "model/checkpoint.h"

namespace hadal {

/// A file's bytes: the length of `json`, `json`, and `data_bytes` bytes of data that count 0, 1, 2, …
inline std::string SafetensorsBytes(std::string_view json, size_t data_bytes) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(uint64_t{json.size()} >> (8 * i));
  file += json;
  for (size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

/// The header of one U8 tensor of four bytes.
inline std::string OneTensor(std::string_view name) {
  return fmt::format(R"({{"{}":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}}})", name);
}

template <typename T>
void ExpectError(const Result<T>& result, Code code, std::string_view part) {
  ASSERT_FALSE(result.has_value()) << "accepted, expected an error with '" << part << "'";
  EXPECT_STREQ(CodeName(result.error().code), CodeName(code)) << result.error().message;
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

class TempFolderTest : public testing::Test {
 protected:
  TempFolderTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        testing::TempDir() + fmt::format("hadal_{}_{}.{}", info->test_suite_name(), info->name(), getpid());
    std::filesystem::create_directories(folder_);
  }
  ~TempFolderTest() override { std::filesystem::remove_all(folder_); }

  Path Put(std::string_view name, std::string_view bytes) const {
    EXPECT_TRUE(WriteFileAtomic(folder_ / name, bytes));
    return folder_ / name;
  }
  size_t FilesInFolder() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++count;
    return count;
  }
  /// What must still work after any failure.
  void ExpectGoodFileOpens() const {
    const Path path = Put("good", SafetensorsBytes(OneTensor("a"), 4));
    const auto good = Checkpoint::OpenFile(path);
    ASSERT_TRUE(good) << good.error().message;
    std::vector<std::byte> scratch;
    const auto bytes = (*good)->Read(*(*good)->Find("a"), 1, 3, scratch);
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ((*bytes)[2], std::byte{3});
    std::filesystem::remove(path);
  }

  Path folder_;
};

}  // namespace hadal
