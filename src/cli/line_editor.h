// A line of input at the terminal, edited and remembered.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "cli/terminal.h"

namespace hadal {

/// Wraps libedit (emacs keys, and what ~/.editrc says). One at a time, on standard input and output.
class LineEditor {
 public:
  struct Input {
    enum Kind { kLine, kInterrupted, kEnd } kind;
    std::string
        text;  // of kLine: without the newline; what continues over lines that end in \ is joined by newlines
  };

  /// `history`: the file that keeps what was entered, readable by its owner only; made if it is missing. It
  /// is not an error if it cannot be kept. `interrupt` outlives the editor.
  static Result<LineEditor> Create(Path history, InterruptGuard& interrupt);
  LineEditor(LineEditor&&) noexcept;
  ~LineEditor();

  /// Asks for a line. Ctrl-C gives kInterrupted (text: what was there), Ctrl-D on an empty line and the end
  /// of the input kEnd.
  Input Read();

  /// $XDG_STATE_HOME/hadal/history, else ~/.local/state/hadal/history; empty if there is no home.
  static Path DefaultHistory();

  static constexpr const char* kPrompt = "> ";

 private:
  struct State;
  explicit LineEditor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal
