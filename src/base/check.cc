#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace hadal {

void CheckFailed(const char* file, int line, const char* text, const std::string& message) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s%s%s\n", file, line, text, message.empty() ? "" : ": ",
               message.c_str());
  std::abort();
}

}  // namespace hadal
