#include "cli/access_flags.h"

#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/terminal.h"
#include "server/auth_types.h"
#include "server/passwords.h"

namespace hadal {
namespace {

constexpr int64_t kMaxLifetimeSeconds = int64_t{10} * 365 * 86400;
constexpr size_t kMaxLineBytes = 4096;

/// While it lives, the terminal does not show what is typed.
class EchoOff {
 public:
  explicit EchoOff(int fd) : fd_(fd) {
    if (tcgetattr(fd_, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    off_ = tcsetattr(fd_, TCSAFLUSH, &silent) == 0;
  }
  ~EchoOff() {
    if (off_) tcsetattr(fd_, TCSAFLUSH, &before_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;
  bool off() const { return off_; }

 private:
  int fd_;
  termios before_{};
  bool off_ = false;
};

/// One line, byte by byte past every buffer that would keep a copy.
Result<Secret> ReadSecretLine(int fd) {
  Secret line;
  while (true) {
    char c = 0;
    const ssize_t got = read(fd, &c, 1);
    if (got < 0 && errno == EINTR) return Cancelled("interrupted");
    if (got < 0) return Unavailable("cannot read the password: {}", std::strerror(errno));
    if (got == 0 || c == '\n') break;
    if (line.view().size() >= kMaxLineBytes)
      return InvalidArgument("the password is longer than {} bytes", kMaxLineBytes);
    line.Append(c);
  }
  if (line.view().ends_with('\r')) line.RemoveLast();
  return line;
}

Result<Secret> AskTwice() {
  const InterruptGuard interrupt;  // so that Ctrl-C does not leave a silent terminal behind
  const EchoOff echo(STDIN_FILENO);
  if (!echo.off()) return Unavailable("the terminal cannot hide what is typed; use --password-file");
  const auto ask = [](const char* prompt) -> Result<Secret> {
    fmt::print(stderr, "{}", prompt);
    Result<Secret> line = ReadSecretLine(STDIN_FILENO);
    fmt::print(stderr, "\n");
    return line;
  };
  ASSIGN_OR_RETURN(Secret first, ask("New password: "));
  if (interrupt.Requested()) return Cancelled("interrupted");
  RETURN_IF_ERROR(CheckPassword(first));
  ASSIGN_OR_RETURN(const Secret second, ask("Again: "));
  if (interrupt.Requested()) return Cancelled("interrupted");
  if (!EqualInConstantTime(first.view(), second.view())) return InvalidArgument("the two passwords differ");
  return first;
}

std::string DefaultStateFolder() {
  if (const char* base = std::getenv("XDG_STATE_HOME"); base != nullptr && base[0] == '/')
    return std::string(base) + "/hadal";
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.local/state/hadal";
  return {};
}

}  // namespace

void AddStateFlag(CLI::App& verb, std::string& state) {
  Setting(verb.add_option("--state", state,
                          "State folder: accounts, keys, certificates; without it "
                          "$XDG_STATE_HOME/hadal or ~/.local/state/hadal")
              ->type_name("DIR"),
          "state");
}

void AddScopeFlag(CLI::App& verb, std::vector<std::string>& scopes, const char* text) {
  verb.add_option("--scope", scopes,
                  fmt::format("{}; may be given again (default {})", text, fmt::join(scopes, ",")))
      ->type_name("NAME[,NAME]")
      ->delimiter(',')
      ->allow_extra_args(false);
}

Result<Path> StateFolderOf(const std::string& flag) {
  RETURN_IF_ERROR(ForbidCoreDumps());
  const std::string folder = flag.empty() ? DefaultStateFolder() : flag;
  if (folder.empty())
    return InvalidArgument("there is no home folder to keep state in; name a folder with --state");
  return Path(folder);
}

Result<AccessState> OpenStateOf(const std::string& flag) {
  ASSIGN_OR_RETURN(const Path folder, StateFolderOf(flag));
  return OpenAccessState(folder);
}

Result<std::string> ScopesOf(const std::vector<std::string>& words) {
  const Result<std::vector<std::string>> scopes = ParseScopes(JoinScopes(words));
  if (scopes) return JoinScopes(*scopes);
  return InvalidArgument("--scope takes {}", fmt::join(kScopes, ", "));
}

Result<int64_t> ParseLifetime(const std::string& text) {
  constexpr std::pair<char, int64_t> kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  for (const auto& [letter, seconds] : kUnits) {
    if (error == std::errc() && rest + 1 == end && *rest == letter && number > 0 &&
        number <= kMaxLifetimeSeconds / seconds)
      return number * seconds;
  }
  return InvalidArgument("'{}' is not a time such as 90s, 15m, 8h or 30d, at most 3650d", text.substr(0, 64));
}

std::string TimeText(int64_t seconds) {
  if (seconds == 0) return "never";
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Result<Secret> ReadNewPassword(const std::string& file) {
  Secret password;
  if (file.empty()) {
    if (!IsTerminal(STDIN_FILENO)) {
      return InvalidArgument(
          "there is no terminal to ask for the password; give --password-file FILE, or - for "
          "standard input");
    }
    return AskTwice();
  }
  if (file == "-") {
    ASSIGN_OR_RETURN(password, ReadSecretLine(STDIN_FILENO));
  } else {
    ASSIGN_OR_RETURN(std::string text, ReadFile(file, kMaxLineBytes));
    password = Secret(std::string_view(text).substr(0, text.find_first_of("\r\n")));
    Wipe(text);
  }
  RETURN_IF_ERROR(CheckPassword(password));
  return password;
}

Status AuditCommand(StateDb& db, const std::string& event, const std::string& detail) {
  return db.Audit({UnixSeconds(), event, fmt::format("uid:{}", getuid()), "local", detail});
}

Status PrintTable(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows,
                  bool json) {
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const auto& row : rows) {
      nlohmann::ordered_json object;
      for (size_t i = 0; i < headings.size(); ++i) object[headings[i]] = row[i];
      list.push_back(object);
    }
    return Print(JsonText(list) + "\n");
  }
  std::vector<size_t> widths;
  for (size_t i = 0; i < headings.size(); ++i) {
    widths.push_back(headings[i].size());
    for (const auto& row : rows) widths[i] = std::max(widths[i], row[i].size());
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) text += fmt::format("{:<{}}  ", cells[i], widths[i]);
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  };
  std::string text = line(headings);
  for (const auto& row : rows) text += line(row);
  return Print(text);
}

}  // namespace hadal
