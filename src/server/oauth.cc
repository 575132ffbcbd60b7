#include "server/oauth.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "server/auth_types.h"

namespace hadal {
namespace {

using nlohmann::json;

constexpr const char* kDummyPassword = "no user has this password";

}  // namespace

/// The client that has proved who it is; empty for a public request.
struct OAuthService::Caller {
  std::string name, scopes;
  bool proved = false;  // by a secret
};

/// RFC 6749, section 5.2.
struct OAuthService::Refusal {
  int status = 400;
  std::string error, description;
  bool basic = false;       // asked by Basic: WWW-Authenticate says so
  int64_t retry_after = 0;  // seconds
};

namespace {

template <typename Refusal>
Refusal Busy() {
  return {503, "temporarily_unavailable", "the server cannot issue tokens now; try again", false, 1};
}

template <typename Refusal>
OAuthAnswer AnswerOf(const Refusal& refusal) {
  OAuthAnswer answer{
      refusal.status, {}, json{{"error", refusal.error}, {"error_description", refusal.description}}.dump()};
  answer.headers = {
      {"content-type", "application/json"}, {"cache-control", "no-store"}, {"pragma", "no-cache"}};
  if (refusal.basic)
    answer.headers.emplace_back("www-authenticate", "Basic realm=\"hadal\", charset=\"UTF-8\"");
  if (refusal.retry_after > 0)
    answer.headers.emplace_back("retry-after", std::to_string(refusal.retry_after));
  return answer;
}

bool IsForm(const HttpRequest& request) {
  const std::string* type = request.Header("content-type");
  if (type == nullptr) return false;
  std::string name;
  for (const char c : type->substr(0, type->find(';'))) {
    if (c != ' ' && c != '\t') name += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  return name == "application/x-www-form-urlencoded";
}

/// What is asked for, within what is allowed; all that is allowed where nothing is asked for. Nothing if it
/// goes beyond.
std::optional<std::string> ChosenScopes(const Form& form, const std::string& allowed) {
  const auto asked = form.find("scope");
  if (asked == form.end()) return allowed;
  const auto wanted = ParseScopes(asked->second);
  const auto granted = ParseScopes(allowed);
  if (!wanted || !granted) return std::nullopt;
  for (const std::string& scope : *wanted)
    if (!HasScope(*granted, scope)) return std::nullopt;
  return JoinScopes(*wanted);
}

}  // namespace

OAuthService::OAuthService(OAuthOptions options, TokenIssuer& issuer, SigningKeys& keys, StateDb& db)
    : options_(std::move(options)),
      issuer_(issuer),
      keys_(keys),
      db_(db),
      throttle_(options_.throttle),
      unknown_user_hash_(HashPassword(Secret(kDummyPassword), options_.password_cost).value_or("")),
      queue_(1, options_.max_waiting) {}

void OAuthService::Audit(const std::string& event, const std::string& actor, const HttpRequest& request,
                         const std::string& detail) {
  // A name that a stranger made up is written only as far as it could be one.
  const std::string name = CheckAccountName(actor.substr(actor.find(':') + 1)) ? actor : "(no name)";
  (void)db_.Audit({options_.now(), event, name, request.peer, detail});
}

tl::expected<OAuthService::Caller, OAuthService::Refusal> OAuthService::CheckClient(
    const HttpRequest& request, const Form& form) {
  auto credentials = ReadClient(request, form);
  if (!credentials) return tl::unexpected(Refusal{400, "invalid_request", credentials.error().message});
  if (!*credentials) return Caller{};
  const ClientCredentials& client = **credentials;
  const Refusal refused{401, "invalid_client", "the client is unknown or its secret is wrong", client.basic};
  const std::string subject = ClientSubject(client.name);
  const int64_t wait = throttle_.Begin(subject, request.peer, options_.now());
  if (wait > 0)
    return tl::unexpected(Refusal{429, "temporarily_unavailable", "too many failures", false, wait});
  const Result<Account> account = db_.FindAccount(subject);
  if (!account && account.error().code != Code::kNotFound) return tl::unexpected(Busy<Refusal>());
  // Secrets of clients are 256 random bits: a plain hash protects them as well as a slow one.
  const bool known = account && !account->disabled;
  const bool proved = known && client.has_secret && !account->secret.empty() &&
                      EqualInConstantTime(Sha256(client.secret.view()), account->secret);
  const bool good = known && (proved || (!client.has_secret && account->secret.empty()));
  if (good) throttle_.Succeeded(subject, request.peer);
  if (!good) {
    Audit("client_refused", subject, request, "");
    return tl::unexpected(refused);
  }
  return Caller{client.name, account->scopes, proved};
}

tl::expected<TokenGrant, OAuthService::Refusal> OAuthService::PasswordGrant(const HttpRequest& request,
                                                                            const Form& form,
                                                                            const Caller& caller) {
  const auto name = form.find("username"), word = form.find("password");
  if (name == form.end() || word == form.end())
    return tl::unexpected(Refusal{400, "invalid_request", "username and password are needed"});
  const std::string subject = UserSubject(name->second);
  const int64_t wait = throttle_.Begin(subject, request.peer, options_.now());
  if (wait > 0)
    return tl::unexpected(Refusal{429, "temporarily_unavailable", "too many failures", false, wait});
  const Result<Account> account = db_.FindAccount(subject);
  if (!account && account.error().code != Code::kNotFound) return tl::unexpected(Busy<Refusal>());
  // A hash is computed whoever it is, so that the time does not tell which names exist.
  const bool right = VerifyPassword(account ? account->secret : unknown_user_hash_, Secret(word->second));
  if (!account || account->disabled || !right) {
    Audit("login_refused", subject, request, "");
    return tl::unexpected(Refusal{400, "invalid_grant", "the user is unknown or the password is wrong"});
  }
  throttle_.Succeeded(subject, request.peer);
  const auto scopes = ChosenScopes(form, account->scopes);
  if (!scopes) return tl::unexpected(Refusal{400, "invalid_scope", "the user may not have that scope"});
  return TokenGrant{.subject = subject, .client = caller.name, .scopes = *scopes, .refresh = true};
}

tl::expected<TokenGrant, OAuthService::Refusal> OAuthService::ClientGrant(const Form& form,
                                                                          const Caller& caller) {
  if (!caller.proved)
    return tl::unexpected(Refusal{401, "invalid_client", "this grant needs a client with a secret"});
  const auto scopes = ChosenScopes(form, caller.scopes);
  if (!scopes) return tl::unexpected(Refusal{400, "invalid_scope", "the client may not have that scope"});
  return TokenGrant{.subject = ClientSubject(caller.name), .client = caller.name, .scopes = *scopes};
}

tl::expected<IssuedTokens, OAuthService::Refusal> OAuthService::RefreshGrant(const Form& form,
                                                                             const Caller& caller,
                                                                             TokenGrant& grant) {
  const Refusal refused{400, "invalid_grant", "the refresh token is not valid"};
  const auto text = form.find("refresh_token");
  if (text == form.end()) return tl::unexpected(Refusal{400, "invalid_request", "refresh_token is needed"});
  OpaqueToken token;
  if (!ParseOpaqueToken(text->second, kRefreshPrefix, token)) return tl::unexpected(refused);
  const auto state = db_.FindToken(token.id, TokenKind::kRefresh);
  if (!state) return tl::unexpected(Busy<Refusal>());
  const TokenRecord& record = state->record;
  if (!EqualInConstantTime(Sha256(token.secret), record.hash) || record.client != caller.name ||
      record.expires <= options_.now())
    return tl::unexpected(refused);
  if (!state->usable) {
    // Its holder and someone else both have it: neither is to go on (RFC 9700, section 4.14).
    (void)db_.RevokeFamily(record.family, options_.now());
    return tl::unexpected(refused);
  }
  const auto scopes = ChosenScopes(form, record.scopes);
  if (!scopes)
    return tl::unexpected(Refusal{400, "invalid_scope", "the refresh token does not have that scope"});
  grant = {record.subject, record.client, *scopes, record.family, true};
  Result<std::optional<IssuedTokens>> tokens = issuer_.Refresh(record.id, grant, options_.now());
  if (!tokens) return tl::unexpected(Busy<Refusal>());
  if (!*tokens) return tl::unexpected(refused);
  return std::move(**tokens);
}

tl::expected<IssuedTokens, OAuthService::Refusal> OAuthService::Grant(const HttpRequest& request,
                                                                      const Form& form, TokenGrant& grant) {
  const auto type = form.find("grant_type");
  if (type == form.end()) return tl::unexpected(Refusal{400, "invalid_request", "grant_type is needed"});
  const auto caller = CheckClient(request, form);
  if (!caller) return tl::unexpected(caller.error());
  if (type->second == "refresh_token") return RefreshGrant(form, *caller, grant);
  if (type->second != "password" && type->second != "client_credentials") {
    return tl::unexpected(Refusal{400, "unsupported_grant_type",
                                  "grant_type is one of password, client_credentials, refresh_token"});
  }
  auto granted =
      type->second == "password" ? PasswordGrant(request, form, *caller) : ClientGrant(form, *caller);
  if (!granted) return tl::unexpected(granted.error());
  grant = std::move(*granted);
  Result<IssuedTokens> tokens = issuer_.Issue(grant, options_.now());
  if (!tokens) return tl::unexpected(Busy<Refusal>());
  return std::move(*tokens);
}

OAuthAnswer OAuthService::Token(const HttpRequest& request) {
  const auto invalid = [](std::string why) {
    return AnswerOf(Refusal{400, "invalid_request", std::move(why)});
  };
  if (!IsForm(request)) return invalid("the body must be application/x-www-form-urlencoded");
  if (!request.query.empty()) return invalid("parameters belong into the body, not into the query");
  Result<Form> form = ParseForm(request.body);
  if (!form) return invalid(form.error().message);
  TokenGrant grant;
  const auto tokens = Grant(request, *form, grant);
  for (auto& [name, value] : *form) Wipe(value);
  if (!tokens) return AnswerOf(tokens.error());
  // Without its record no token leaves the house.
  if (!db_.Audit({options_.now(), "token_issued", grant.subject, request.peer,
                  fmt::format("client {} scope {} id {}", grant.client, grant.scopes, tokens->id)}))
    return AnswerOf(Busy<Refusal>());
  json body = {{"access_token", tokens->access},
               {"token_type", "Bearer"},
               {"expires_in", tokens->expires_in},
               {"scope", grant.scopes}};
  if (!tokens->refresh.empty()) body["refresh_token"] = tokens->refresh;
  return {200,
          {{"content-type", "application/json"}, {"cache-control", "no-store"}, {"pragma", "no-cache"}},
          body.dump()};
}

void OAuthService::HandleToken(HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
  // Its end wipes it, whatever becomes of it: answered, not taken, or ended by an exception.
  const bool taken = queue_.Submit([this, writer, held = std::make_shared<HttpRequest>(std::move(request))] {
    OAuthAnswer answer = Token(*held);
    writer->Send(answer.status, std::move(answer.headers), std::move(answer.body));
  });
  if (taken) return;
  OAuthAnswer busy = AnswerOf(Busy<Refusal>());
  writer->Send(busy.status, std::move(busy.headers), std::move(busy.body));
}

void OAuthService::HandleKeys(std::shared_ptr<ResponseWriter> writer) {
  const auto ring = keys_.Current();
  if (!ring)
    return writer->Send(503, {{"content-type", "application/json"}},
                        R"({"error":"temporarily_unavailable"})");
  json keys = json::array();
  for (const auto& [kid, key] : (*ring)->verifiers.keys())
    keys.push_back(PublicJwk(key.key.get(), key.algorithm));
  writer->Send(200, {{"content-type", "application/jwk-set+json"}, {"cache-control", "max-age=300"}},
               json{{"keys", keys}}.dump());
}

void OAuthService::SetAddress(std::string url) {
  const std::lock_guard lock(address_mutex_);
  address_ = std::move(url);
}

std::string OAuthService::Metadata() {
  // From the configured name only: what a request says of its Host must not decide where others send
  // passwords.
  const std::string& issuer = issuer_.options().issuer;
  std::string base;
  {
    const std::lock_guard lock(address_mutex_);
    base = address_.empty() ? issuer : address_;
  }
  while (base.ends_with('/')) base.pop_back();
  return json{
      {"issuer", issuer},
      {"token_endpoint", base + "/token"},
      {"jwks_uri", base + "/.well-known/jwks.json"},
      {"scopes_supported", {kScopeInfer, kScopeMetrics, kScopeAdmin}},
      {"response_types_supported", json::array()},
      {"grant_types_supported", {"password", "client_credentials", "refresh_token"}},
      {"token_endpoint_auth_methods_supported", {"client_secret_basic", "client_secret_post", "none"}}}
      .dump();
}

std::vector<Route> OAuthService::Routes() {
  const std::string open(kPublicScope);
  return {
      {"POST", "/token", open,
       [this](HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
         HandleToken(request, std::move(writer));
       },
       kMaxFormBytes},
      {"GET", "/.well-known/jwks.json", open,
       [this](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) { HandleKeys(std::move(writer)); }},
      {"GET", "/.well-known/oauth-authorization-server", open,
       [this](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) {
         writer->Send(200, {{"content-type", "application/json"}, {"cache-control", "max-age=300"}},
                      Metadata());
       }}};
}

}  // namespace hadal
