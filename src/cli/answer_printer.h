// An answer as it appears: the reasoning before it dimmed on a terminal, and left out elsewhere.
#pragma once

#include <string_view>

#include "base/status.h"

namespace hadal {

class AnswerPrinter {
 public:
  AnswerPrinter();
  /// Prints and flushes a piece, on a terminal without what it would take as commands. Between the reasoning
  /// and the answer there is an empty line.
  Status Show(std::string_view piece, bool is_thought);
  /// After the last piece, also of an answer that failed: colours are as they were.
  Status Finish();

 private:
  bool terminal_, color_;
  bool in_thought_ = false;
};

}  // namespace hadal
