#include "cli/line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <system_error>

namespace hadal {
namespace {

constexpr int kHistoryLines = 1000;
constexpr size_t kMaxInputBytes = size_t{1} << 20;  // of one input over all its lines

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  Path path;
  InterruptGuard* interrupt = nullptr;
  const char* prompt = kPrompt;

  ~State() {
    if (editor != nullptr) el_end(editor);
    if (history != nullptr) history_end(history);
  }

  static State* Of(EditLine* editor) {
    void* state = nullptr;
    el_get(editor, EL_CLIENTDATA, &state);
    return static_cast<State*>(state);
  }
  // libedit does not write to what the callback returns.
  static char* Prompt(EditLine* editor) { return const_cast<char*>(Of(editor)->prompt); }
  static int ReadCharacter(EditLine* editor, wchar_t* out);
  bool WaitForKey() const;
  void LoadHistory();
  void Remember(const std::string& text);
  bool ReadLine(std::string& line);
};

/// False on Ctrl-C. libedit's own reader goes on after a signal, so waiting is ours.
bool LineEditor::State::WaitForKey() const {
  for (;;) {
    pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupt->fd(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return false;
    if (interrupt->Requested()) return false;
    if (fds[0].revents != 0) return true;
  }
}

/// The next character: 1, at the end of the input 0, on Ctrl-C or an error -1.
int LineEditor::State::ReadCharacter(EditLine* editor, wchar_t* out) {
  const State& state = *Of(editor);
  std::mbstate_t decoding = {};
  for (;;) {
    if (!state.WaitForKey()) return -1;
    char byte = 0;
    const ssize_t count = read(STDIN_FILENO, &byte, 1);
    if (count == 0) return 0;
    if (count < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return -1;
    }
    const size_t result = std::mbrtowc(out, &byte, 1, &decoding);
    if (result == static_cast<size_t>(-2)) continue;  // a part of a character
    if (result != static_cast<size_t>(-1)) return 1;
    decoding = {};  // not UTF-8: left out
  }
}

void LineEditor::State::LoadHistory() {
  HistEvent event;
  ::history(history, &event, H_SETSIZE, kHistoryLines);
  ::history(history, &event, H_SETUNIQUE, 1);
  if (path.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  // Made here so that it is never readable by others, not even for a moment.
  const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    path.clear();
    return;
  }
  fchmod(fd, 0600);
  close(fd);
  ::history(history, &event, H_LOAD, path.c_str());
}

void LineEditor::State::Remember(const std::string& text) {
  if (text.find_first_not_of(" \t\n") == std::string::npos) return;
  HistEvent event;
  ::history(history, &event, H_ENTER, text.c_str());
  if (!path.empty()) ::history(history, &event, H_SAVE, path.c_str());
}

/// One line without its newline; false at the end of the input and on Ctrl-C.
bool LineEditor::State::ReadLine(std::string& line) {
  // Before the prompt is shown, so that what is typed from then on is echoed once, and Ctrl-D is a key.
  el_set(editor, EL_PREP_TERM, 1);
  int count = 0;
  const char* text = el_gets(editor, &count);
  if (text == nullptr || count <= 0) return false;
  line.assign(text, static_cast<size_t>(count));
  if (line.ends_with('\n')) line.pop_back();
  return true;
}

LineEditor::LineEditor(std::unique_ptr<State> state) : state_(std::move(state)) {}
LineEditor::LineEditor(LineEditor&&) noexcept = default;
LineEditor::~LineEditor() = default;

Result<LineEditor> LineEditor::Create(Path history, InterruptGuard& interrupt) {
  // Characters are UTF-8 whatever the environment says; numbers keep the C locale.
  if (std::setlocale(LC_CTYPE, "C.UTF-8") == nullptr) std::setlocale(LC_CTYPE, "");
  auto state = std::make_unique<State>();
  state->path = std::move(history);
  state->interrupt = &interrupt;
  state->editor = el_init("hadal", stdin, stdout, stderr);
  state->history = history_init();
  if (state->editor == nullptr || state->history == nullptr)
    return FailedPrecondition("the terminal cannot be used for editing; give the prompt as an argument");
  el_set(state->editor, EL_CLIENTDATA, state.get());
  el_set(state->editor, EL_EDITOR, "emacs");
  el_set(state->editor, EL_PROMPT, &State::Prompt);
  el_set(state->editor, EL_HIST, ::history, state->history);
  el_set(state->editor, EL_GETCFN, &State::ReadCharacter);
  el_set(state->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_source(state->editor, nullptr);
  state->LoadHistory();
  return LineEditor(std::move(state));
}

LineEditor::Input LineEditor::Read() {
  std::string text, line;
  state_->prompt = kPrompt;
  while (state_->ReadLine(line)) {
    text += line;
    if (!line.ends_with('\\') || text.size() > kMaxInputBytes) {
      state_->Remember(text);
      return {Input::kLine, std::move(text)};
    }
    text.back() = '\n';
    state_->prompt = ". ";
  }
  const bool interrupted = state_->interrupt->Requested();
  if (interrupted) {
    const LineInfo* info = el_line(state_->editor);
    text.append(info->buffer, info->lastchar);
  }
  state_->interrupt->Clear();
  el_reset(state_->editor);
  return {interrupted ? Input::kInterrupted : Input::kEnd, std::move(text)};
}

Path LineEditor::DefaultHistory() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/')
    return Path(state) / "hadal/history";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
    return Path(home) / ".local/state/hadal/history";
  return {};
}

}  // namespace hadal
