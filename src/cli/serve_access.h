// The flags of `hadal serve` that say whom it trusts: its certificate, client certificates, outside issuers.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/service.h"

namespace hadal {

struct ServeAccessFlags {
  std::string certificate, key, client_ca, client_certificates = "required", lifetime = "397d";
  std::vector<std::string> issuers;  // "issuer=URL,audience=NAME,..."
};

/// Their keys in hadal.yaml are server.NAME and access.issuers.
void AddServeAccessFlags(CLI::App& verb, ServeAccessFlags& flags);

/// Fills tls, certificate_seconds and issuers. kInvalidArgument for flags that do not go together.
Status ApplyServeAccess(const ServeAccessFlags& flags, ServiceOptions& options);

/// One issuer of "name=value,name=value", in which a backslash stands before a comma or a backslash of a
/// value: issuer, audience, jwks, ca, scopes, scopes_claim, scope_names, plain_type. kInvalidArgument names
/// what is wrong.
Result<OutsideIssuerOptions> ParseIssuer(std::string_view text);

}  // namespace hadal
