// hadal run without a prompt: a conversation in the terminal.
#include <unistd.h>

#include "cli/answer_printer.h"
#include "cli/chat.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace hadal {
namespace {

constexpr const char* kHelp =
    R"(/reset           forget the conversation
/system TEXT     begin anew under this system message; without TEXT, show it
/exit            leave (so does Ctrl-D)
A line that ends in \ goes on in the next one. Ctrl-C stops an answer, or clears the line.
)";

class Repl {
 public:
  Repl(Conversation& conversation, std::string first, InterruptGuard& interrupt, bool verbose)
      : chat_(conversation), first_(std::move(first)), interrupt_(interrupt), verbose_(verbose) {}

  Result<int> Run() {
    ASSIGN_OR_RETURN(LineEditor editor, LineEditor::Create(LineEditor::DefaultHistory(), interrupt_));
    RETURN_IF_ERROR(Say("Ask something, or /help. Ctrl-D leaves.\n"));
    for (;;) {
      RETURN_IF_ERROR(FlushOutput());
      const LineEditor::Input input = editor.Read();
      if (input.kind == LineEditor::Input::kEnd) {
        RETURN_IF_ERROR(Say("\n"));
        return kExitOk;
      }
      if (input.kind == LineEditor::Input::kInterrupted) {
        RETURN_IF_ERROR(Say(input.text.empty() ? "\n(/exit or Ctrl-D leaves)\n" : "\n"));
        continue;
      }
      if (input.text.find_first_not_of(" \t\n") == std::string::npos) continue;
      if (input.text == "/exit" || input.text == "/quit") return kExitOk;
      RETURN_IF_ERROR(input.text.starts_with('/') ? Command(input.text) : Answer(input.text));
    }
  }

 private:
  static Status Say(std::string_view text) {
    RETURN_IF_ERROR(Print(text));
    return FlushOutput();
  }

  Status Command(const std::string& text) {
    if (text == "/help") return Say(kHelp);
    if (text == "/reset") {
      chat_.Reset();
      return Say("(forgotten)\n");
    }
    if (text.starts_with("/system") && !chat_.has_template()) return Say("(--raw has no system message)\n");
    if (text == "/system")
      return Say(chat_.system().empty() ? "(no system message)\n" : chat_.system() + "\n");
    if (text.starts_with("/system ")) {
      chat_.SetSystem(text.substr(8));
      return Say("(begun anew)\n");
    }
    return Say(fmt::format("there is no command {}; /help lists them\n", text.substr(0, text.find(' '))));
  }

  /// One turn. Only an output that is gone is an error of the program.
  Status Answer(const std::string& text) {
    interrupt_.Clear();
    Status written;
    AnswerPrinter printer;
    const auto answer = chat_.Say(first_.empty() ? text : first_ + "\n\n" + text,
                                  [&](std::string_view piece, bool is_thought) {
                                    written = printer.Show(piece, is_thought);
                                    return written;
                                  });
    RETURN_IF_ERROR(written);
    RETURN_IF_ERROR(printer.Finish());
    interrupt_.Clear();
    if (!answer) {
      PrintError(answer.error().message);
      return {};
    }
    first_.clear();
    RETURN_IF_ERROR(Say("\n"));
    if (answer->finish_reason == "interrupted") PrintNote("(stopped)");
    if (answer->finish_reason == "context") PrintNote("(the context is full; /reset begins anew)");
    if (verbose_) PrintNote(FiguresLine(*answer));
    return {};
  }

  Conversation& chat_;
  std::string first_;  // put before the first message
  InterruptGuard& interrupt_;
  bool verbose_;
};

}  // namespace

Result<int> RunRepl(Conversation& conversation, std::string first, InterruptGuard& interrupt, bool verbose) {
  return Repl(conversation, std::move(first), interrupt, verbose).Run();
}

}  // namespace hadal
