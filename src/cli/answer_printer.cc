#include "cli/answer_printer.h"

#include <unistd.h>

#include "cli/output.h"
#include "cli/terminal.h"

namespace hadal {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kNormal = "\x1b[0m";

}  // namespace

AnswerPrinter::AnswerPrinter() : terminal_(IsTerminal(STDOUT_FILENO)), color_(UsesColor(STDOUT_FILENO)) {}

Status AnswerPrinter::Show(std::string_view piece, bool is_thought) {
  if (is_thought && !terminal_) return {};
  if (is_thought && !in_thought_ && color_) RETURN_IF_ERROR(Print(kDim));
  if (!is_thought && in_thought_) {
    RETURN_IF_ERROR(Finish());
    RETURN_IF_ERROR(Print("\n\n"));
  }
  in_thought_ = is_thought;
  RETURN_IF_ERROR(Print(terminal_ ? WithoutControls(piece) : std::string(piece)));
  return FlushOutput();
}

Status AnswerPrinter::Finish() {
  if (!in_thought_) return {};
  in_thought_ = false;
  if (color_) RETURN_IF_ERROR(Print(kNormal));
  return FlushOutput();
}

}  // namespace hadal
