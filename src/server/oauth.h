// The token endpoint (RFC 6749): the grants password, client_credentials and refresh_token.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/http_types.h"
#include "server/oauth_form.h"
#include "server/passwords.h"
#include "server/state_db.h"
#include "server/task_queue.h"
#include "server/throttle.h"
#include "server/token_issuer.h"

namespace hadal {

struct OAuthOptions {
  ThrottleOptions throttle;
  PasswordCost password_cost;
  size_t max_waiting = 64;       // token requests behind the one at work; more get 503
  std::function<int64_t()> now;  // seconds since 1970
};

/// An answer of the endpoint.
struct OAuthAnswer {
  int status = 200;
  HttpHeaders headers;
  std::string body;
};

/// Thread-safe. The parts must outlive it.
class OAuthService {
 public:
  OAuthService(OAuthOptions options, TokenIssuer& issuer, SigningKeys& keys, StateDb& db);

  /// POST /token, GET /.well-known/jwks.json, GET /.well-known/oauth-authorization-server; all public.
  /// Handlers return at once: hashing and records are done on a thread of the service.
  std::vector<Route> Routes();

  /// Where clients reach the service ("https://10.0.0.1:8443"), for the published addresses; without it they are below
  /// the issuer's name.
  void SetAddress(std::string url);

  /// The answer to a token request. Takes as long as a password hash.
  OAuthAnswer Token(const HttpRequest& request);

 private:
  struct Caller;
  struct Refusal;
  tl::expected<Caller, Refusal> CheckClient(const HttpRequest& request, const Form& form);
  tl::expected<TokenGrant, Refusal> PasswordGrant(const HttpRequest& request, const Form& form,
                                                  const Caller& caller);
  tl::expected<TokenGrant, Refusal> ClientGrant(const Form& form, const Caller& caller);
  tl::expected<IssuedTokens, Refusal> RefreshGrant(const Form& form, const Caller& caller, TokenGrant& grant);
  tl::expected<IssuedTokens, Refusal> Grant(const HttpRequest& request, const Form& form, TokenGrant& grant);
  void Audit(const std::string& event, const std::string& actor, const HttpRequest& request,
             const std::string& detail);
  void HandleToken(HttpRequest& request, std::shared_ptr<ResponseWriter> writer);
  void HandleKeys(std::shared_ptr<ResponseWriter> writer);
  std::string Metadata();

  const OAuthOptions options_;
  TokenIssuer& issuer_;
  SigningKeys& keys_;
  StateDb& db_;
  LoginThrottle throttle_;
  std::string unknown_user_hash_;  // so that unknown names take as long as known ones
  std::mutex address_mutex_;
  std::string address_;  // guarded by address_mutex_
  TaskQueue queue_;                // last: its thread uses the others
};

}  // namespace hadal
