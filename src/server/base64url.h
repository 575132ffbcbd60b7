// Base64, read strictly: one text for one value.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hadal {

/// RFC 4648, section 5, without padding.
std::string Base64UrlEncode(std::string_view bytes);

/// Nothing if `text` holds padding, white space, a letter outside the alphabet, a length that no value has,
/// or unused bits that are not zero.
std::optional<std::string> Base64UrlDecode(std::string_view text);

/// RFC 4648, section 4, with padding (HTTP Basic); as strict.
std::optional<std::string> Base64Decode(std::string_view text);

}  // namespace hadal
