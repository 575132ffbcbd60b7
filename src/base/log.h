// The program's log: one line an event, as text or JSON, written by a thread of its own.
//
// Not spdlog, which the design first named: it escapes nothing (a line's fields would have to be made safe
// before), its asynchronous queue in Debian 12's version (1.10) can only block or forget the oldest lines, and
// on the way out it waits for whoever does not read the pipe.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <variant>

#include "base/status.h"

namespace hadal {

enum class LogLevel { kDebug, kInfo, kWarn, kError };
enum class LogFormat { kText, kJson };

/// kInvalidArgument names the choices: debug, info, warn, error; text, json.
Result<LogLevel> ParseLogLevel(std::string_view name);
Result<LogFormat> ParseLogFormat(std::string_view name);

/// A named value of a line. Names are literals of the code; values may come from anywhere: they are escaped, so
/// that none can begin a line or a field of its own. A string that is not UTF-8 loses the bytes that are wrong.
struct LogField {
  std::string_view name;
  std::variant<std::string_view, int64_t, double> value;
};

/// {"time":"2026-01-31T12:00:00.123Z","level":"info","event":"request",...} or
/// 2026-01-31T12:00:00.123Z info request name=value name="two words" ..., with a newline.
std::string LogLine(LogFormat format, LogLevel level, std::string_view event, std::span<const LogField> fields,
                    std::chrono::system_clock::time_point time);

/// Never blocks its callers: what the file does not take in time waits in a buffer of `buffer_bytes`, and lines
/// beyond that are dropped and counted; a line then tells how many. A pipe whose reader has gone loses its lines
/// and raises no signal. Thread-safe.
class Log {
 public:
  struct Options {
    LogFormat format = LogFormat::kText;
    LogLevel level = LogLevel::kInfo;  // lines below are not written
    size_t buffer_bytes = 1 << 20;
    int fd = 2;  // not closed
  };
  explicit Log(const Options& options);
  /// Writes what waits, unless nobody has read for a second.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool Wants(LogLevel level) const { return level >= options_.level; }
  LogFormat format() const { return options_.format; }
  void Write(LogLevel level, std::string_view event, std::span<const LogField> fields);
  void Write(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
    Write(level, event, std::span(fields.begin(), fields.size()));
  }
  /// Lines lost since the start.
  uint64_t dropped() const { return dropped_; }

 private:
  void Main();
  bool Send(std::string_view bytes);
  void TellDropped();

  const Options options_;
  std::atomic<uint64_t> dropped_{0};
  std::mutex mutex_;  // guards what follows; held for an append or a swap
  std::condition_variable wake_;
  std::string waiting_;  // whole lines
  bool stopping_ = false;
  std::string writing_;         // the thread's
  uint64_t told_ = 0;           // the thread's: drops that a line has told of
  std::thread thread_;          // last: it uses all of the above
};

}  // namespace hadal
