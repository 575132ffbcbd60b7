#include "base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace hadal {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

const auto kTime = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'769'860'800'123));

std::string Json(std::string_view value) {
  const LogField field{"value", value};
  return LogLine(LogFormat::kJson, LogLevel::kInfo, "test", {&field, 1}, kTime);
}

TEST(LogLine, IsOneObjectOfJsonOrWordsOfText) {
  const std::vector<LogField> fields{{"name", "two words"}, {"plain", "word"}, {"count", 3}, {"ms", 1.25}};
  EXPECT_EQ(LogLine(LogFormat::kJson, LogLevel::kWarn, "request", fields, kTime),
            R"({"time":"2026-01-31T12:00:00.123Z","level":"warn","event":"request","name":"two words",)"
            "\"plain\":\"word\",\"count\":3,\"ms\":1.25}\n");
  EXPECT_EQ(LogLine(LogFormat::kText, LogLevel::kWarn, "request", fields, kTime),
            "2026-01-31T12:00:00.123Z warn request name=\"two words\" plain=word count=3 ms=1.25\n");
}

TEST(LogLine, NoValueBeginsALineOrAFieldOfItsOwn) {
  const std::string_view evil[] = {"a\nlevel=error", "a\r\nb",   "\"},{\"x\":\"", "a b=c",
                                   "\x1b[31mred",    "\xC2\x85", "\xE2\x80\xA8",  std::string_view("nul\0x", 5)};
  for (const std::string_view value : evil) {
    for (const LogFormat format : {LogFormat::kJson, LogFormat::kText}) {
      const LogField field{"value", value};
      std::string line = LogLine(format, LogLevel::kInfo, "test", {&field, 1}, kTime);
      ASSERT_EQ(line.back(), '\n');
      line.pop_back();
      for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
      EXPECT_THAT(line, Not(HasSubstr("\xC2\x85")));
      EXPECT_THAT(line, Not(HasSubstr("\xE2\x80\xA8")));
    }
    EXPECT_EQ(json::parse(Json(value))["value"], value);
  }
  EXPECT_EQ(json::parse(Json("\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80"))["value"],
            "\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80");
}

TEST(LogLine, BytesThatAreNotUtf8AreReplaced) {
  for (const char* wrong : {"\xFF", "\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x80"})
    EXPECT_THAT(json::parse(Json(wrong))["value"].get<std::string>(), HasSubstr("\xEF\xBF\xBD"));
}

/// A pipe that nobody reads until Read.
class PipeTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::pipe(ends_), 0); }
  void TearDown() override {
    if (ends_[0] >= 0) ::close(ends_[0]);
    if (ends_[1] >= 0) ::close(ends_[1]);
  }
  Log::Options Options(size_t buffer_bytes) {
    Log::Options options;
    options.fd = ends_[1];
    options.buffer_bytes = buffer_bytes;
    return options;
  }
  /// No byte more fits into the pipe.
  void Fill() {
    const int flags = ::fcntl(ends_[1], F_GETFL);
    ::fcntl(ends_[1], F_SETFL, flags | O_NONBLOCK);
    const std::string junk(4096, '.');
    while (::write(ends_[1], junk.data(), junk.size()) > 0) {
    }
    ::fcntl(ends_[1], F_SETFL, flags);
  }
  std::string ReadAll() {
    ::close(std::exchange(ends_[1], -1));
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = ::read(ends_[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
    return text;
  }
  int ends_[2] = {-1, -1};
};

TEST_F(PipeTest, LinesArriveInOrderAndThoseBelowTheLevelNot) {
  {
    Log log(Options(1 << 16));
    log.Write(LogLevel::kDebug, "hidden", {});
    for (int64_t i = 0; i < 100; ++i) log.Write(LogLevel::kInfo, "line", {{"i", i}});
  }
  const std::string text = ReadAll();
  size_t at = 0;
  for (int i = 0; i < 100; ++i) {
    at = text.find("i=" + std::to_string(i) + "\n", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_THAT(text, Not(HasSubstr("hidden")));
}

TEST_F(PipeTest, AReaderThatSleepsBlocksNobodyAndLosesCountedLines) {
  Fill();
  Log log(Options(4096));
  const std::string filler(1000, 'x');
  for (int i = 0; i < 200; ++i) log.Write(LogLevel::kInfo, "line", {{"filler", filler}});
  // At most what two buffers of 4096 bytes hold is kept.
  EXPECT_GE(log.dropped(), 192u);
  EXPECT_LT(log.dropped(), 200u);
}  // ends although nobody reads

TEST_F(PipeTest, WhoReadsAgainIsToldHowManyLinesAreMissing) {
  Fill();
  std::string text;
  Log log(Options(4096));
  const std::string filler(1000, 'x');
  for (int i = 0; i < 200; ++i) log.Write(LogLevel::kInfo, "line", {{"filler", filler}});
  char buffer[4096];
  while (text.find("log_lines_dropped") == std::string::npos) {
    const ssize_t n = ::read(ends_[0], buffer, sizeof buffer);
    ASSERT_GT(n, 0);
    text.append(buffer, static_cast<size_t>(n));
  }
  EXPECT_THAT(text, HasSubstr("warn log_lines_dropped lines="));
}

TEST_F(PipeTest, AReaderThatHasGoneLosesLinesAndEndsNothing) {
  ::close(std::exchange(ends_[0], -1));
  Log log(Options(4096));
  for (int i = 0; i < 3; ++i) log.Write(LogLevel::kInfo, "line", {});
}  // a SIGPIPE would end the test

TEST(Log, NamesOfLevelsAndFormats) {
  EXPECT_EQ(*ParseLogLevel("debug"), LogLevel::kDebug);
  EXPECT_EQ(*ParseLogLevel("error"), LogLevel::kError);
  EXPECT_THAT(ParseLogLevel("loud").error().message, HasSubstr("debug, info, warn or error"));
  EXPECT_EQ(*ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_THAT(ParseLogFormat("xml").error().message, HasSubstr("text or json"));
}

}  // namespace
}  // namespace hadal
