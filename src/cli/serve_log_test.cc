#include "cli/serve_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace hadal {
namespace {

TEST(ServeLog, SentencesAreLinesOfTheLogInBothFormats) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    {
      Log::Options options;
      options.format = format;
      options.level = LogLevel::kWarn;
      options.fd = ends[1];
      Log log(options);
      Say(log, "not wanted");
      Say(log, "mind\nthe gap", LogLevel::kWarn);
    }
    ::close(ends[1]);
    char buffer[4096];
    const ssize_t n = ::read(ends[0], buffer, sizeof buffer);
    ::close(ends[0]);
    ASSERT_GT(n, 0);
    const std::string text(buffer, static_cast<size_t>(n));
    EXPECT_THAT(text, testing::HasSubstr("note"));
    EXPECT_THAT(text, testing::HasSubstr("mind\\u000athe gap"));
    EXPECT_THAT(text, testing::Not(testing::HasSubstr("not wanted")));
    EXPECT_EQ(text.find('\n'), text.size() - 1);
  }
}

}  // namespace
}  // namespace hadal
