// Ids that nobody can guess.
#pragma once

#include <string>

namespace hadal::api {

/// 96 random bits as 24 hexadecimal digits.
std::string RandomHex();

}  // namespace hadal::api
