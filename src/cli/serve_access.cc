#include "cli/serve_access.h"

#include <utility>

#include "cli/access_flags.h"
#include "cli/flags.h"
#include "cli/settings.h"
#include "server/auth_types.h"

namespace hadal {
namespace {

constexpr const char* kIssuerHelp =
    "An OIDC provider whose tokens are taken, such as issuer=https://login.example,audience=hadal; further "
    "parts are jwks=URL|FILE, ca=FILE, scopes=infer, scopes_claim=NAME, scope_names=THEIRS:OURS and "
    "plain_type=true; may be repeated; in the file a list of maps with these keys";

/// "a=b,c=d" as pairs.
Result<std::vector<std::pair<std::string, std::string>>> Pairs(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::string name, value;
  bool in_value = false;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool escaped =
        i + 1 < text.size() && text[i] == '\\' && (text[i + 1] == ',' || text[i + 1] == '\\');
    if (i == text.size() || (text[i] == ',' && !escaped)) {
      if (!in_value || name.empty())
        return InvalidArgument("--issuer takes name=value,name=value; '{}' is no such pair",
                               name.substr(0, 64));
      pairs.emplace_back(std::exchange(name, {}), std::exchange(value, {}));
      in_value = false;
    } else if (text[i] == '=' && !in_value) {
      in_value = true;
    } else {
      i += escaped;
      (in_value ? value : name) += text[i];
    }
  }
  return pairs;
}

/// The words of "a b", or "a:b c:d".
std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c != ' ')
      words.back() += c;
    else if (!words.back().empty())
      words.emplace_back();
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

Status SetScopeNames(std::string_view text, OutsideIssuerOptions& options) {
  for (const std::string& word : SplitWords(text)) {
    const size_t colon = word.rfind(':');
    if (colon == std::string::npos || colon == 0 || !ParseScopes(word.substr(colon + 1)))
      return InvalidArgument(
          "scope_names of --issuer takes THEIRS:OURS, with spaces between several, OURS one of {}",
          fmt::join(kScopes, ", "));
    options.scope_names[word.substr(0, colon)] = word.substr(colon + 1);
  }
  return {};
}

Status SetIssuerField(const std::string& name, const std::string& value, OutsideIssuerOptions& options) {
  if (name == "issuer") {
    options.issuer = value;
  } else if (name == "audience") {
    options.audience = value;
  } else if (name == "jwks") {
    options.jwks = value;
  } else if (name == "ca") {
    options.ca_file = value;
  } else if (name == "scopes_claim") {
    options.scopes_claim = value;
  } else if (name == "scopes") {
    options.scopes = SplitWords(value);
    if (!ParseScopes(JoinScopes(options.scopes)))
      return InvalidArgument("scopes of --issuer takes {}, with spaces between several",
                             fmt::join(kScopes, ", "));
  } else if (name == "scope_names") {
    return SetScopeNames(value, options);
  } else if (name == "plain_type" && (value == "true" || value == "false")) {
    options.plain_type = value == "true";
  } else if (name == "plain_type") {
    return InvalidArgument("plain_type of --issuer is true or false");
  } else {
    return InvalidArgument(
        "--issuer has no '{}'; it takes issuer, audience, jwks, ca, scopes, scopes_claim, scope_names, "
        "plain_type",
        name.substr(0, 64));
  }
  return {};
}

}  // namespace

Result<OutsideIssuerOptions> ParseIssuer(std::string_view text) {
  ASSIGN_OR_RETURN(const auto pairs, Pairs(text));
  OutsideIssuerOptions options;
  std::map<std::string, int> seen;
  for (const auto& [name, value] : pairs) {
    if (++seen[name] > 1) return InvalidArgument("--issuer names '{}' twice", name.substr(0, 64));
    RETURN_IF_ERROR(SetIssuerField(name, value, options));
  }
  if (options.issuer.empty() || options.audience.empty())
    return InvalidArgument("--issuer needs issuer=URL and audience=NAME at least");
  return options;
}

void AddServeAccessFlags(CLI::App& verb, ServeAccessFlags& flags) {
  Setting(verb.add_option(
                  "--tls-cert", flags.certificate,
                  "The server's certificate and its intermediates (PEM), read again when it changes; without "
                  "it the internal CA makes one and renews it in time")
              ->type_name("FILE"),
          "server.tls_cert");
  Setting(verb.add_option("--tls-key", flags.key, "The key of --tls-cert (PEM)")->type_name("FILE"),
          "server.tls_key");
  Setting(
      verb.add_option("--certificate-lifetime", flags.lifetime,
                      "How long the internal CA's certificates for the server hold; renewed after two thirds")
          ->type_name("TIME")
          ->capture_default_str(),
      "server.certificate_lifetime");
  Setting(
      verb.add_option(
              "--client-ca", flags.client_ca,
              "Ask clients for a certificate of this CA (PEM); STATE/ca.crt for 'hadal cert issue --client'")
          ->type_name("FILE"),
      "server.client_ca");
  Setting(AddChoice(verb, "--client-cert", flags.client_certificates, {"required", "optional"},
                    "With --client-ca: whether a client may come without a certificate"),
          "server.client_cert");
  Setting(verb.add_option("--issuer", flags.issuers, kIssuerHelp)
              ->type_name("NAME=VALUE,...")
              ->allow_extra_args(false),
          "access.issuers");
}

Status ApplyServeAccess(const ServeAccessFlags& flags, ServiceOptions& options) {
  if (flags.certificate.empty() != flags.key.empty())
    return InvalidArgument("--tls-cert and --tls-key go together; only one of them is given");
  TlsOptions& tls = options.server.tls;
  tls.certificate_file = flags.certificate;
  tls.key_file = flags.key;
  if (!flags.client_ca.empty()) {
    tls.client_ca_file = flags.client_ca;
    tls.client_certificates = flags.client_certificates == "optional" ? ClientCertificates::kOptional
                                                                      : ClientCertificates::kRequired;
  }
  if (options.server.plain && (!flags.certificate.empty() || !flags.client_ca.empty()))
    return InvalidArgument(
        "--plain-http has no certificates; leave out --tls-cert, --tls-key and --client-ca");
  ASSIGN_OR_RETURN(options.certificate_seconds, ParseLifetime(flags.lifetime));
  for (const std::string& text : flags.issuers) {
    ASSIGN_OR_RETURN(options.issuers.emplace_back(), ParseIssuer(text));
  }
  return {};
}

}  // namespace hadal
