#include "engine/grammar/program_budget.h"

#include <utility>

namespace hadal::grammar {

Result<std::shared_ptr<const Program>> ProgramBudget::Keep(std::shared_ptr<const Program> program) {
  const size_t bytes = program->bytes();
  size_t used = *used_;
  do {
    if (bytes > limit_ - used)
      return ResourceExhausted(
          "the grammars of all requests take {} KB, this one needs {} KB, and the limit is {} KB; try again later",
          used / 1024, bytes / 1024, limit_ / 1024);
  } while (!used_->compare_exchange_weak(used, used + bytes));
  const Program* const kept = program.get();
  // The holder goes first, so that what is counted as free is free.
  return std::shared_ptr<const Program>(kept, [used = used_, bytes, held = std::move(program)](const Program*) mutable {
    held = nullptr;
    *used -= bytes;
  });
}

}  // namespace hadal::grammar
