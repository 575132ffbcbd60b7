// Result<T> and Status: how code that meets the world (files, peers, requests) says that it failed.
//
// An error is a code, which programs act on, and a sentence, which people read: it names the thing, what was
// found, what was expected and what to do. Broken promises inside the program are CHECKs, not errors.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace hadal {

enum class Code {
  kInvalidArgument,     // the caller asked for something that makes no sense
  kNotFound,            // a file, tensor or name is not there
  kDataLoss,            // data is there and wrong: truncated, inconsistent, corrupt
  kResourceExhausted,   // memory, disk or a limit is too small for what was asked
  kFailedPrecondition,  // the state or machine does not allow it
  kUnsupported,         // well-formed, and outside what hadal does
  kPermissionDenied,
  kUnavailable,         // a device or peer did not answer
  kCancelled,
  kInternal,
};

/// The code's name in lower case with underscores: "invalid_argument".
const char* CodeName(Code code);

struct Error {
  Code code;
  std::string message;  // one sentence, no trailing newline
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// fmt::format of `format` and `args` as an error of `code`; converts to any Result<T>.
template <typename... Args>
tl::unexpected<Error> MakeError(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

#define HADAL_ERROR_MAKER(Name)                                                              \
  template <typename... Args>                                                                \
  tl::unexpected<Error> Name(fmt::format_string<Args...> format, Args&&... args) {           \
    return MakeError(Code::k##Name, format, std::forward<Args>(args)...);                    \
  }
HADAL_ERROR_MAKER(InvalidArgument)
HADAL_ERROR_MAKER(NotFound)
HADAL_ERROR_MAKER(DataLoss)
HADAL_ERROR_MAKER(ResourceExhausted)
HADAL_ERROR_MAKER(FailedPrecondition)
HADAL_ERROR_MAKER(Unsupported)
HADAL_ERROR_MAKER(PermissionDenied)
HADAL_ERROR_MAKER(Unavailable)
HADAL_ERROR_MAKER(Cancelled)
HADAL_ERROR_MAKER(Internal)
#undef HADAL_ERROR_MAKER

#define HADAL_CONCAT_INNER(a, b) a##b
#define HADAL_CONCAT(a, b) HADAL_CONCAT_INNER(a, b)

/// Returns the error of `expression` (a Status or Result) from the function around it, if it has one.
#define RETURN_IF_ERROR(expression)                                                    \
  do {                                                                                 \
    if (auto status_ = (expression); !status_) return tl::unexpected(std::move(status_).error()); \
  } while (false)

/// ASSIGN_OR_RETURN(auto x, F()): x = value of F(), or return its error.
#define ASSIGN_OR_RETURN(lhs, expression) \
  HADAL_ASSIGN_OR_RETURN(HADAL_CONCAT(result_, __LINE__), lhs, expression)
#define HADAL_ASSIGN_OR_RETURN(result, lhs, expression)                  \
  auto result = (expression);                                            \
  if (!result) return tl::unexpected(std::move(result).error());         \
  lhs = std::move(result).value()

}  // namespace hadal
