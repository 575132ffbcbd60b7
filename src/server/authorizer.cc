#include "server/authorizer.h"

#include <algorithm>

#include "server/jwt.h"
#include "server/secrets.h"

namespace hadal {
namespace {

using Denial = Authorizer::Denial;

constexpr size_t kMaxClientLetters = 256;

/// RFC 6750, section 3: 401 without an error code for a request that brought no credentials.
Denial Deny(int status, std::string error, std::string description, std::string_view scope = {}) {
  std::string header = "Bearer realm=\"hadal\"";
  if (!error.empty()) header += fmt::format(", error=\"{}\", error_description=\"{}\"", error, description);
  if (!scope.empty()) header += fmt::format(", scope=\"{}\"", scope);
  return {status, std::move(header), std::move(error), std::move(description)};
}

Denial DenyFor(const Error& error) {
  if (error.code == Code::kInvalidArgument || error.code == Code::kPermissionDenied)
    return Deny(401, "invalid_token", error.message);
  // The cause (a path, a database) is for the operator's log and not for a caller who may be anyone.
  return {503, "", "temporarily_unavailable", "credentials cannot be checked now; try again"};
}

bool HasPrefixIgnoringCase(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), text.begin(),
                    [](char want, char c) { return want == (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
}

/// b64token of RFC 6750, section 2.1.
bool IsBearerText(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._~+/").find(c) != std::string_view::npos;
  });
}

/// The value of one hexadecimal digit, -1 for other characters.
int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// Whether the query has a parameter access_token, however its name is encoded.
bool QueryHasToken(std::string_view query) {
  std::string name;
  bool in_name = true;
  for (size_t i = 0; i <= query.size(); ++i) {
    const char c = i < query.size() ? query[i] : '&';
    if (c == '&' || c == ';') {
      if (name == "access_token") return true;
      name.clear();
      in_name = true;
    } else if (c == '=') {
      in_name = false;
    } else if (in_name && name.size() <= sizeof("access_token")) {
      const bool encoded =
          c == '%' && i + 2 < query.size() && HexValue(query[i + 1]) >= 0 && HexValue(query[i + 2]) >= 0;
      name += encoded ? static_cast<char>(HexValue(query[i + 1]) * 16 + HexValue(query[i + 2])) : c;
      if (encoded) i += 2;
    }
  }
  return false;
}

/// The credentials' text: a token or API key.
tl::expected<std::string_view, Denial> Credentials(const HttpRequest& request) {
  const auto refuse = [](Denial denial) { return tl::unexpected(std::move(denial)); };
  if (QueryHasToken(request.query))
    return refuse(
        Deny(400, "invalid_request", "a token in the query is not taken; send it as Authorization: Bearer"));
  const int bearers = request.CountHeader("authorization"), keys = request.CountHeader("x-api-key");
  if (bearers + keys > 1)
    return refuse(Deny(400, "invalid_request", "the request has more than one credential"));
  if (const std::string* key = request.Header("x-api-key")) {
    if (!key->starts_with(fmt::format("{}_", kApiKeyPrefix)))
      return refuse(Deny(401, "invalid_token", "X-Api-Key does not hold an API key of this server"));
    return *key;
  }
  const std::string* header = request.Header("authorization");
  constexpr std::string_view kBearer = "bearer ";
  if (header == nullptr || !HasPrefixIgnoringCase(*header, kBearer))
    return refuse(Deny(401, "", "this route needs Authorization: Bearer with a token or API key"));
  std::string_view text = *header;
  text.remove_prefix(std::min(text.find_first_not_of(' ', kBearer.size() - 1), text.size()));
  if (!IsBearerText(text))
    return refuse(Deny(400, "invalid_request", "the Authorization header is malformed"));
  return text;
}

/// "a b" or ["a", "b"] as the words.
std::vector<std::string> Words(const nlohmann::json& claims, const char* name) {
  std::vector<std::string> words;
  const auto found = claims.find(name);
  if (found == claims.end()) return words;
  if (found->is_array()) {
    for (const auto& word : *found)
      if (word.is_string()) words.push_back(word);
    return words;
  }
  if (!found->is_string()) return words;
  std::string_view text = found->get_ref<const std::string&>();
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    if (!word.empty()) words.emplace_back(word);
    text.remove_prefix(std::min(text.size(), word.size() + 1));
  }
  return words;
}

/// The claim called `name`, or where there is none so called, the member of a member that its dots lead to;
/// null.
const nlohmann::json* FindClaim(const nlohmann::json& claims, std::string_view name) {
  if (const auto whole = claims.find(name); whole != claims.end()) return &*whole;
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return nullptr;
  const auto outer = claims.find(name.substr(0, dot));
  return outer != claims.end() && outer->is_object() ? FindClaim(*outer, name.substr(dot + 1)) : nullptr;
}

/// What an outside issuer's token gives here: its words, translated, as far as the issuer may give them.
std::vector<std::string> OutsideScopes(const nlohmann::json& claims, const OutsideIssuerOptions& options) {
  std::vector<std::string> words;
  if (options.scopes_claim.empty()) {
    words = Words(claims, "scope");
    for (std::string& word : Words(claims, "scp")) words.push_back(std::move(word));
  } else if (const nlohmann::json* claim = FindClaim(claims, options.scopes_claim)) {
    words = Words({{"claim", *claim}}, "claim");
  }
  std::vector<std::string> scopes;
  for (const std::string& word : words) {
    const auto mapped = options.scope_names.find(word);
    if (mapped == options.scope_names.end() && !options.scope_names.empty()) continue;
    const std::string& scope = options.scope_names.empty() ? word : mapped->second;
    if (HasScope(options.scopes, scope) && !HasScope(scopes, scope)) scopes.push_back(scope);
  }
  return scopes;
}

}  // namespace

tl::expected<Identity, Denial> TokenAuthorizer::Check(const HttpRequest& request, std::string_view scope) {
  std::string subject;
  tl::expected<Identity, Denial> checked = CheckCredentials(request, scope, subject);
  if (!checked && options_.on_denied) options_.on_denied(request, checked.error(), subject);
  return checked;
}

tl::expected<Identity, Denial> TokenAuthorizer::CheckCredentials(const HttpRequest& request,
                                                                 std::string_view scope,
                                                                 std::string& subject) {
  const auto credentials = Credentials(request);
  if (!credentials) return tl::unexpected(credentials.error());
  Result<Identity> identity = credentials->starts_with(fmt::format("{}_", kApiKeyPrefix))
                                  ? CheckApiKey(*credentials)
                                  : CheckToken(*credentials);
  if (!identity) return tl::unexpected(DenyFor(identity.error()));
  if (scope.empty() || HasScope(identity->scopes, scope)) return std::move(*identity);
  subject = identity->subject;
  return tl::unexpected(Deny(403, "insufficient_scope",
                             fmt::format("this route needs a token with the scope {}", scope), scope));
}

Result<Identity> TokenAuthorizer::CheckToken(std::string_view token) {
  ASSIGN_OR_RETURN(const ParsedJwt jwt, ParseJwt(token));
  // The unverified issuer only chooses whose keys verify; CheckClaims compares it afterwards.
  const auto issuer = jwt.claims.find("iss");
  if (issuer != jwt.claims.end()) {
    for (OutsideIssuer* outside : outside_)
      if (*issuer == outside->options().issuer) return CheckOutside(jwt, *outside);
  }
  return CheckOwn(jwt);
}

Result<Identity> TokenAuthorizer::CheckOwn(const ParsedJwt& jwt) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const SigningKeyRing> ring, keys_.Current());
  const VerifyKey* key = ring->verifiers.Find(jwt.kid);
  if (key == nullptr || key->algorithm != jwt.algorithm)
    return PermissionDenied("the token's key is not known");
  if (!VerifySignature(*key, jwt.signed_text, jwt.signature))
    return PermissionDenied("the token's signature is wrong");
  RETURN_IF_ERROR(
      CheckClaims(jwt, {options_.issuer, options_.audience, {"at+jwt"}, /*own=*/true}, options_.now()));
  ASSIGN_OR_RETURN(const StateDb::TokenState state,
                   db_.FindToken(jwt.claims["jti"].get<std::string>(), TokenKind::kAccess));
  // The record decides: what the token says of subject and scopes was copied from it.
  if (!state.usable || jwt.claims["sub"] != state.record.subject)
    return PermissionDenied("the token has been revoked");
  return Identity{state.record.subject, state.record.client, Words(jwt.claims, "scope")};
}

Result<Identity> TokenAuthorizer::CheckOutside(const ParsedJwt& jwt, OutsideIssuer& outside) {
  const OutsideIssuerOptions& options = outside.options();
  const std::shared_ptr<const KeySet> keys = outside.Keys();
  if (keys == nullptr) return Unavailable("the keys of {} are not known yet", options.issuer);
  const VerifyKey* key = keys->Find(jwt.kid);
  if (key == nullptr) outside.NoteUnknownKey();
  if (key == nullptr || key->algorithm != jwt.algorithm)
    return PermissionDenied("the token's key is not known");
  if (!VerifySignature(*key, jwt.signed_text, jwt.signature))
    return PermissionDenied("the token's signature is wrong");
  JwtRules rules{options.issuer, options.audience, {"at+jwt", "application/at+jwt"}, /*own=*/false};
  if (options.plain_type) rules.types.insert(rules.types.end(), {"jwt", ""});
  RETURN_IF_ERROR(CheckClaims(jwt, rules, options_.now()));
  Identity identity;
  // No account here is called so: their subjects begin with "user:" or "client:", issuers' names with
  // "https://".
  identity.subject = fmt::format("{}|{}", options.issuer, jwt.claims["sub"].get<std::string>());
  for (const char* name : {"client_id", "azp"}) {
    const auto client = jwt.claims.find(name);
    if (identity.client.empty() && client != jwt.claims.end() && client->is_string())
      identity.client = client->get<std::string>().substr(0, kMaxClientLetters);
  }
  identity.scopes = OutsideScopes(jwt.claims, options);
  return identity;
}

Result<Identity> TokenAuthorizer::CheckApiKey(std::string_view text) {
  OpaqueToken key;
  if (!ParseOpaqueToken(text, kApiKeyPrefix, key)) return PermissionDenied("the API key is not valid");
  ASSIGN_OR_RETURN(const StateDb::TokenState state, db_.FindToken(key.id, TokenKind::kApiKey));
  const bool good = EqualInConstantTime(Sha256(key.secret), state.record.hash) && state.usable &&
                    (state.record.expires == 0 || state.record.expires > options_.now());
  Wipe(key.secret);
  if (!good) return PermissionDenied("the API key is not valid");
  Result<std::vector<std::string>> scopes = ParseScopes(state.record.scopes);
  if (!scopes) return Internal("the record of an API key names an unknown scope");
  return Identity{state.record.subject, state.record.client, std::move(*scopes)};
}

}  // namespace hadal
