#include "model/safetensors.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "model/safetensors_test_util.h"

namespace hadal {
namespace {

using std::string_literals::operator""s;

/// Every bad file is read twice, by the parser and from the disk; a good one must open afterwards.
class SafetensorsTest : public TempFolderTest {
 protected:
  static Result<SafetensorsHeader> Parse(std::string_view bytes) {
    return ParseSafetensorsHeader(std::as_bytes(std::span(bytes.data(), bytes.size())), bytes.size());
  }
  void ExpectRejected(std::string_view bytes, Code code, std::string_view part) const {
    ExpectError(Parse(bytes), code, part);
    const auto opened = Checkpoint::OpenFile(Put("bad.safetensors", bytes));
    ExpectError(opened, code, part);
    if (!opened) {
      EXPECT_NE(opened.error().message.find("bad.safetensors"), std::string::npos);
    }
    ExpectGoodFileOpens();
  }
  void ExpectHeaderRejected(std::string_view json, size_t data_bytes, Code code,
                            std::string_view part) const {
    SCOPED_TRACE(json.substr(0, 200));
    ExpectRejected(SafetensorsBytes(json, data_bytes), code, part);
  }
};

std::string Length(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

TEST_F(SafetensorsTest, HeaderLengthBeyondFile) {
  ExpectRejected(Length(100) + "{}", Code::kDataLoss, "should be 100 bytes long, and the file has 2");
  ExpectRejected(Length(3) + "{}", Code::kDataLoss, "should be 3 bytes long, and the file has 2");
}

TEST_F(SafetensorsTest, HeaderLengthOf64SetBits) {
  ExpectRejected(Length(UINT64_MAX) + "{}", Code::kDataLoss, "should be 18446744073709551615 bytes long");
  ExpectRejected(Length(UINT64_MAX - 7) + "{}", Code::kDataLoss, "cut off");  // 8 + length would wrap to 0
}

TEST_F(SafetensorsTest, HeaderAbove100MB) {
  const Path path = Put("big.safetensors", Length(100'000'001));
  std::filesystem::resize_file(path, 200'000'000);  // sparse
  ExpectError(Checkpoint::OpenFile(path), Code::kResourceExhausted,
              "100000001 bytes long, the format allows 100000000");
  ExpectGoodFileOpens();
}

TEST_F(SafetensorsTest, FewerThan8Bytes) {
  ExpectRejected("", Code::kDataLoss, "0 bytes are too few");
  ExpectRejected("1234567", Code::kDataLoss, "7 bytes are too few");
}

TEST_F(SafetensorsTest, HeaderIsNotUtf8) {
  ExpectHeaderRejected(OneTensor("\xff\xfe"), 4, Code::kDataLoss, "not valid UTF-8");
  ExpectHeaderRejected(OneTensor("\xc0\xaf"), 4, Code::kDataLoss, "not valid UTF-8");      // overlong '/'
  ExpectHeaderRejected(OneTensor("\xed\xa0\x80"), 4, Code::kDataLoss, "not valid UTF-8");  // surrogate
}

TEST_F(SafetensorsTest, HeaderIsNotJson) {
  ExpectHeaderRejected("{", 0, Code::kDataLoss, "not valid JSON");
  ExpectHeaderRejected("{}}", 0, Code::kDataLoss, "not valid JSON");
  ExpectHeaderRejected("{}\0"s + "x", 0, Code::kDataLoss, "not valid JSON");
  ExpectHeaderRejected(R"({"a":1,})", 0, Code::kDataLoss, "not valid JSON");
  ExpectHeaderRejected(R"({"a":NaN})", 0, Code::kDataLoss, "not valid JSON");
  ExpectHeaderRejected("[]", 0, Code::kDataLoss, "does not begin with '{'");
  ExpectHeaderRejected("", 0, Code::kDataLoss, "does not begin with '{'");
}

TEST_F(SafetensorsTest, LeadingSpace) {
  ExpectHeaderRejected(" {}", 0, Code::kDataLoss, "does not begin with '{'");
  ExpectHeaderRejected("\xef\xbb\xbf{}", 0, Code::kDataLoss, "does not begin with '{'");
  EXPECT_TRUE(Parse(SafetensorsBytes("{}   ", 0))) << "trailing spaces are the format's own padding";
}

TEST_F(SafetensorsTest, DuplicateKey) {
  const std::string entry = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  const std::string second = R"({"dtype":"U8","shape":[4],"data_offsets":[4,8]})";
  ExpectHeaderRejected(fmt::format(R"({{"a":{},"a":{}}})", entry, second), 8, Code::kDataLoss, "'a' twice");
  ExpectHeaderRejected(fmt::format(R"({{"a":{},"a":{}}})", entry, entry), 4, Code::kDataLoss, "'a' twice");
  ExpectHeaderRejected(fmt::format(R"({{"a":{},"\u0061":{}}})", entry, second), 8, Code::kDataLoss,
                       "'a' twice");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}})", 4,
                       Code::kDataLoss, "tensor 'a': the key 'dtype' stands twice");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}})", 4,
                       Code::kDataLoss, "'shape' stands twice");
  ExpectHeaderRejected(R"({"__metadata__":{"k":"1","k":"2"}})", 0, Code::kDataLoss, "the key 'k' twice");
  ExpectHeaderRejected(R"({"__metadata__":{},"__metadata__":{}})", 0, Code::kDataLoss,
                       "'__metadata__' twice");
}

TEST_F(SafetensorsTest, NegativeOffset) {
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[-4,0]}})", 0, Code::kDataLoss,
                       "a number of data_offsets is negative: -4");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", 4, Code::kDataLoss,
                       "a dimension of shape is negative: -4");
}

TEST_F(SafetensorsTest, BeginAfterEnd) {
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", 4, Code::kDataLoss,
                       "[4, 0] end before they begin");
}

TEST_F(SafetensorsTest, Overlap) {
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                           "b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
                       7, Code::kDataLoss, "'a' and 'b' overlap");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                           "b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                       4, Code::kDataLoss, "overlap");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                           "b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                       4, Code::kDataLoss, "overlap");
}

TEST_F(SafetensorsTest, Hole) {
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                           "b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})",
                       10, Code::kDataLoss,
                       "bytes 4 to 6 of the data, before tensor 'b', belong to no tensor");
  ExpectHeaderRejected(R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5, Code::kDataLoss,
                       "bytes 0 to 1");
}

TEST_F(SafetensorsTest, UnindexedTail) {
  ExpectHeaderRejected(OneTensor("a"), 5, Code::kDataLoss,
                       "the last 1 bytes of the file belong to no tensor");
  ExpectHeaderRejected("{}", 1, Code::kDataLoss, "the last 1 bytes");
}

TEST_F(SafetensorsTest, DataCutOff) {
  ExpectHeaderRejected(OneTensor("a"), 3, Code::kDataLoss,
                       "'a' ends at byte 4 of the data, and the file ends at 3");
  ExpectHeaderRejected(
      R"({"a":{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]}})", 8,
      Code::kDataLoss, "it is cut off");
}

TEST_F(SafetensorsTest, OffsetsAreNotShapeTimesDType) {
  ExpectHeaderRejected(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,23]}})", 23, Code::kDataLoss,
                       "tensor 'a': shape [2, 3] of F32 needs 24 bytes, data_offsets [0, 23] give it 23");
}

TEST_F(SafetensorsTest, ProductOverflow) {
  for (const char* shape : {"[4294967296,4294967296]", "[3,6148914691236517206]", "[4294967296,4294967296,0]",
                            "[0,4294967296,4294967296]"})
    ExpectHeaderRejected(fmt::format(R"({{"a":{{"dtype":"U8","shape":{},"data_offsets":[0,0]}}}})", shape), 0,
                         Code::kDataLoss, "more elements than 64 bits can count");
  ExpectHeaderRejected(R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0,
                       Code::kDataLoss, "more bits than 64 bits can count");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,0]}})", 0,
                       Code::kDataLoss, "not a whole number below 2^63");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,0]}})", 0, Code::kDataLoss,
                       "not a whole number");
}

TEST_F(SafetensorsTest, UnknownDType) {
  for (const char* dtype : {"F128", "f32", "", "F32 "})
    ExpectHeaderRejected(fmt::format(R"({{"a":{{"dtype":"{}","shape":[4],"data_offsets":[0,4]}}}})", dtype),
                         4, Code::kUnsupported, fmt::format("tensor 'a': dtype '{}'", dtype));
  ExpectHeaderRejected(R"({"a":{"dtype":7,"shape":[4],"data_offsets":[0,4]}})", 4, Code::kDataLoss,
                       "dtype is not a string");
}

TEST_F(SafetensorsTest, NonStringMetadata) {
  ExpectHeaderRejected(R"({"__metadata__":{"format":1}})", 0, Code::kDataLoss,
                       "value of 'format' is not a string");
  ExpectHeaderRejected(R"({"__metadata__":{"format":null}})", 0, Code::kDataLoss, "is not a string");
  ExpectHeaderRejected(R"({"__metadata__":["pt"]})", 0, Code::kDataLoss, "not an object of strings");
}

TEST_F(SafetensorsTest, DeepNesting) {
  for (size_t depth : {17, 1'000'000}) {
    const std::string open(depth, '['), close(depth, ']');
    ExpectHeaderRejected(R"({"a":)" + open + close + "}", 0, Code::kDataLoss, "nested more than 16 deep");
    ExpectHeaderRejected(R"({"a":)" + open, 0, Code::kDataLoss, "not valid JSON");
  }
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  ExpectHeaderRejected(objects + "7" + std::string(100'000, '}'), 0, Code::kDataLoss,
                       "nested more than 16 deep");
}

TEST_F(SafetensorsTest, TenMillionTensors) {
  // So many entries do not fit under the header's limit: refused by its length, unread.
  const uint64_t header =
      10'000'000 * uint64_t{sizeof(R"("0000000":{"dtype":"U8","shape":[],"data_offsets":[0,0]})")};
  const std::string first = Length(header);
  ExpectError(ParseSafetensorsHeader(std::as_bytes(std::span(first.data(), first.size())), header + 8),
              Code::kResourceExhausted, "the format allows 100000000");
  // As many as do fit are refused by their number, in bounded time.
  std::string json = "{";
  for (int i = 0; json.size() < 99'999'900; ++i)
    json += fmt::format(R"("{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},)", i);
  json.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  ExpectError(Parse(SafetensorsBytes(json, 0)), Code::kResourceExhausted, "more than the 1000000 tensors");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  ExpectGoodFileOpens();
}

TEST_F(SafetensorsTest, ZeroDimensionIsAccepted) {
  const auto header = Parse(SafetensorsBytes(R"({"a":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},
                                                 "b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                                                 "c":{"dtype":"F4","shape":[3,0],"data_offsets":[0,0]}})",
                                             4));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->tensors[0].shape, (std::vector<int64_t>{0, 7}));
  EXPECT_EQ(header->tensors[0].bytes, 0u);
  EXPECT_EQ(header->tensors[1].offset, header->data_begin);
}

TEST_F(SafetensorsTest, ScalarIsAccepted) {
  const auto header = Parse(SafetensorsBytes(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_TRUE(header->tensors[0].shape.empty());
  EXPECT_EQ(header->tensors[0].bytes, 4u);
}

TEST_F(SafetensorsTest, MisalignedSubByteType) {
  ExpectHeaderRejected(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, Code::kDataLoss,
                       "shape [3] of F4 makes 12 bits, which do not fill whole bytes");
  ExpectHeaderRejected(R"({"a":{"dtype":"F6_E2M3","shape":[5],"data_offsets":[0,4]}})", 4, Code::kDataLoss,
                       "30 bits");
  EXPECT_TRUE(Parse(SafetensorsBytes(R"({"a":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]}})", 3)));
}

TEST_F(SafetensorsTest, EntriesHoldTheThreeKeysAndNoOther) {
  ExpectHeaderRejected(R"({"a":{"shape":[4],"data_offsets":[0,4]}})", 4, Code::kDataLoss, "it has no dtype");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","data_offsets":[0,4]}})", 4, Code::kDataLoss, "it has no shape");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4]}})", 4, Code::kDataLoss, "it has no data_offsets");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}})", 4, Code::kDataLoss,
                       "key 'x'");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}})", 4, Code::kDataLoss,
                       "more than 2");
  ExpectHeaderRejected(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4]}})", 4, Code::kDataLoss,
                       "instead of 2");
  ExpectHeaderRejected(R"({"a":7})", 0, Code::kDataLoss, "not an object");
  ExpectHeaderRejected(
      R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1,
      Code::kUnsupported, "more than the 16 dimensions");
}

TEST_F(SafetensorsTest, GitLfsPointerIsNamed) {
  ExpectRejected("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", Code::kDataLoss,
                 "git lfs pull");
}

TEST_F(SafetensorsTest, NamesAreShownWithoutControlCharacters) {
  ExpectHeaderRejected(R"({"a\n\u001b[2J":7})", 0, Code::kDataLoss, R"(tensor 'a\x0a\x1b[2J')");
  EXPECT_EQ(Shown(std::string(119, 'a') + "äöü"), std::string(119, 'a') + "…");
  EXPECT_EQ(Shown("it's"), R"(it\'s)");
}

TEST_F(SafetensorsTest, OnlyTheHeaderIsNeeded) {
  const std::string file = SafetensorsBytes(OneTensor("a"), 4);
  const auto bytes = std::as_bytes(std::span(file.data(), file.size()));
  const auto header = ParseSafetensorsHeader(bytes.first(file.size() - 4), file.size());
  ASSERT_TRUE(header);
  EXPECT_EQ(header->data_begin, file.size() - 4);
  EXPECT_EQ(header->tensors[0].offset, header->data_begin);
  EXPECT_EQ(SafetensorsDataBegin(bytes.first(8), file.size()).value(), header->data_begin);
  ExpectError(ParseSafetensorsHeader(bytes.first(file.size() - 5), file.size()), Code::kInvalidArgument,
              "are needed");
  ExpectError(ParseSafetensorsHeader(bytes.first(7), file.size()), Code::kInvalidArgument, "8 are needed");
}

TEST_F(SafetensorsTest, EveryTruncationOfARealHeaderIsRefused) {
  const std::string file = ReadFile(Path(HADAL_TEST_DATA) / "golden/units/act_quant.safetensors").value();
  ASSERT_TRUE(Parse(file));
  for (size_t size = 0; size < 1000; ++size)
    EXPECT_FALSE(Parse(std::string_view(file).substr(0, size))) << size;
  EXPECT_FALSE(Parse(std::string_view(file).substr(0, file.size() - 1)));
}

TEST_F(SafetensorsTest, WhateverABrokenHeaderSaysTensorsStayInsideTheFile) {
  const std::string original =
      SafetensorsBytes(R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,2],)"
                       R"("data_offsets":[0,16]},"b":{"dtype":"U8","shape":[4],)"
                       R"("data_offsets":[16,20]}})",
                       20);
  uint64_t seed = 1;
  for (int round = 0; round < 20'000; ++round) {
    std::string file = original;
    for (int change = 0; change < 1 + round % 3; ++change) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      file[(seed >> 33) % (file.size() - 20)] = static_cast<char>(seed >> 20);
    }
    const auto header = Parse(file);
    if (!header) continue;
    for (const TensorInfo& tensor : header->tensors) {
      ASSERT_LE(tensor.offset, file.size());
      ASSERT_LE(tensor.bytes, file.size() - tensor.offset);
    }
  }
}

}  // namespace
}  // namespace hadal
