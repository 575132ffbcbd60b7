// The body of a token request (RFC 6749, appendix B), and the client's credentials with it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "server/http_types.h"
#include "server/secrets.h"

namespace hadal {

inline constexpr size_t kMaxFormBytes = 16 << 10;
using Form = std::map<std::string, std::string, std::less<>>;

/// kInvalidArgument for a body that is too long, a parameter that stands twice, a percent sign without two
/// hexadecimal digits, or a control character. Empty parameters are left out (RFC 6749, section 3.2).
Result<Form> ParseForm(std::string_view body);

/// Text and %XX and + as bytes.
std::optional<std::string> DecodeFormText(std::string_view text);

struct ClientCredentials {
  std::string name;
  Secret secret;
  bool has_secret = false;
  bool basic = false;  // by the Authorization header
};
/// Who the client says it is: by Authorization: Basic or by client_id and client_secret in the form, not by
/// both. Nothing where neither is there.
Result<std::optional<ClientCredentials>> ReadClient(const HttpRequest& request, const Form& form);

}  // namespace hadal
