// The one place where errors become HTTP.
#pragma once

#include <string_view>

#include "base/status.h"

namespace hadal {

/// The status of a response that fails with `code`. What a client asked for wrongly is 400, also where it is
/// only not supported: a 501 would make clients try again.
int HttpStatus(Code code);

/// `type` of the error object of OpenAI's API.
std::string_view OpenAiErrorType(int status);

}  // namespace hadal
