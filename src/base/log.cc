#include "base/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>

namespace hadal {
namespace {

constexpr std::array<std::string_view, 4> kLevels = {"debug", "info", "warn", "error"};
// A pipe that poll calls writable takes this much without blocking (PIPE_BUF).
constexpr size_t kWriteBytes = 4096;
constexpr int kPollMs = 100;
// How long the end of the program waits for a reader, in polls.
constexpr int kPollsAtEnd = 10;

/// The length of the UTF-8 character at the front of `text`, 0 if there is none: as RFC 3629 has it.
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool low = first == 0xE0 && second < 0xA0, surrogate = first == 0xED && second >= 0xA0;
    return follows(1) && follows(2) && !low && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool low = first == 0xF0 && second < 0x90, high = first == 0xF4 && second >= 0x90;
    return follows(1) && follows(2) && follows(3) && !low && !high ? 4 : 0;
  }
  return 0;
}

/// `text` as a JSON string. Beyond what JSON asks, DEL, C1 controls and the line separators are escaped, as
/// terminals and readers of lines act on them; wrong bytes become U+FFFD.
void AppendQuoted(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    const std::string_view character = text.substr(0, std::max<size_t>(length, 1));
    const unsigned char c = static_cast<unsigned char>(character[0]);
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += character;
    } else if (c < 0x20 || c == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    } else if (c == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(character[1]));
    } else if (character == "\xE2\x80\xA8" || character == "\xE2\x80\xA9") {
      out += character[2] == '\xA8' ? "\\u2028" : "\\u2029";
    } else {
      out += character;
    }
    text.remove_prefix(character.size());
  }
  out += '"';
}

bool PlainWord(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c < 0x7F && c != '"' && c != '=' && c != '\\';
  });
}

void AppendValue(std::string& out, LogFormat format, const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    if (format == LogFormat::kText && PlainWord(*text))
      out += *text;
    else
      AppendQuoted(out, *text);
  } else if (const auto* integer = std::get_if<int64_t>(&field.value)) {
    fmt::format_to(std::back_inserter(out), "{}", *integer);
  } else {
    const double number = std::get<double>(field.value);
    if (std::isfinite(number))
      fmt::format_to(std::back_inserter(out), "{:.6g}", number);
    else
      out += "null";
  }
}

}  // namespace

Result<LogLevel> ParseLogLevel(std::string_view name) {
  const auto found = std::ranges::find(kLevels, name);
  if (found == kLevels.end())
    return InvalidArgument("the log level is '{}'; it may be debug, info, warn or error", name);
  return static_cast<LogLevel>(found - kLevels.begin());
}

Result<LogFormat> ParseLogFormat(std::string_view name) {
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  return InvalidArgument("the log format is '{}'; it may be text or json", name);
}

std::string LogLine(LogFormat format, LogLevel level, std::string_view event, std::span<const LogField> fields,
                    std::chrono::system_clock::time_point time) {
  using std::chrono::duration_cast;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto millis = duration_cast<std::chrono::milliseconds>(time - seconds).count();
  const std::string_view level_name = kLevels[static_cast<size_t>(level)];
  const auto utc = fmt::gmtime(std::chrono::system_clock::to_time_t(seconds));
  const bool json = format == LogFormat::kJson;
  std::string line = fmt::format("{}{:%Y-%m-%dT%H:%M:%S}.{:03}Z", json ? "{\"time\":\"" : "", utc, millis);
  line += json ? fmt::format("\",\"level\":\"{}\",\"event\":\"{}\"", level_name, event)
               : fmt::format(" {} {}", level_name, event);
  for (const LogField& field : fields) {
    line += json ? fmt::format(",\"{}\":", field.name) : fmt::format(" {}=", field.name);
    AppendValue(line, format, field);
  }
  line += json ? "}\n" : "\n";
  return line;
}

Log::Log(const Options& options) : options_(options) {
  waiting_.reserve(options.buffer_bytes);
  writing_.reserve(options.buffer_bytes);
  thread_ = std::thread(&Log::Main, this);
}

Log::~Log() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Log::Write(LogLevel level, std::string_view event, std::span<const LogField> fields) {
  if (!Wants(level)) return;
  const std::string line = LogLine(options_.format, level, event, fields, std::chrono::system_clock::now());
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + line.size() > options_.buffer_bytes) {
      ++dropped_;
      return;
    }
    waiting_ += line;
  }
  wake_.notify_one();
}

void Log::Main() {
  // A pipe whose reader has gone costs lines and not the program.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  for (bool stop = false; !stop;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      stop = stopping_;
      std::swap(waiting_, writing_);
    }
    if (!Send(writing_)) return;
    writing_.clear();
    TellDropped();
  }
}

void Log::TellDropped() {
  const uint64_t dropped = dropped_;
  if (dropped == told_) return;
  const LogField field{"lines", static_cast<int64_t>(dropped - told_)};
  told_ = dropped;
  Send(LogLine(options_.format, LogLevel::kWarn, "log_lines_dropped", {&field, 1},
               std::chrono::system_clock::now()));
}

/// False: the program ends and nobody reads, or the file takes no more.
bool Log::Send(std::string_view bytes) {
  int polls_at_end = 0;
  while (!bytes.empty()) {
    pollfd waiter{options_.fd, POLLOUT, 0};
    if (::poll(&waiter, 1, kPollMs) == 0) {
      const std::lock_guard lock(mutex_);
      if (stopping_ && ++polls_at_end == kPollsAtEnd) return false;
      continue;
    }
    const ssize_t n = ::write(options_.fd, bytes.data(), std::min(bytes.size(), kWriteBytes));
    if (n > 0)
      bytes.remove_prefix(static_cast<size_t>(n));
    else if (n < 0 && errno != EINTR && errno != EAGAIN)
      return true;  // the lines are lost (a full disk, a closed reader); later ones may pass
  }
  return true;
}

}  // namespace hadal
