// CHECK: promises inside the program. A broken one is a bug; the process stops with the place and the values.
#pragma once

#include <fmt/format.h>

#include <string>

namespace hadal {

/// Prints `file:line: CHECK failed: text` and the message to stderr, then aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* text, const std::string& message);

#define HADAL_CHECK(condition, ...)                                                             \
  do {                                                                                          \
    if (!(condition)) [[unlikely]]                                                              \
      ::hadal::CheckFailed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__));      \
  } while (false)

#define HADAL_CHECK_EQ(a, b)                                                                    \
  do {                                                                                          \
    const auto check_a_ = (a); /* by value: (a) may be part of a temporary */                   \
    const auto check_b_ = (b);                                                                  \
    if (!(check_a_ == check_b_)) [[unlikely]]                                                   \
      ::hadal::CheckFailed(__FILE__, __LINE__, #a " == " #b,                                    \
                           ::fmt::format("{} against {}", check_a_, check_b_));                 \
  } while (false)

}  // namespace hadal
