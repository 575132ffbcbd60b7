// An identity provider outside (OIDC) whose tokens are accepted, and its key set: from a file, which is read
// again when it changes, or fetched over HTTPS by a thread of its own, so that no request ever waits for the
// provider.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "server/jwk.h"
#include "server/state_folder.h"

namespace hadal {

struct OutsideIssuerOptions {
  std::string issuer = {};    // iss, exactly: an https:// address
  std::string audience = {};  // aud, exactly
  /// The JWK set: an https:// address, or a file that whoever fetches it replaces by a rename. Empty: the
  /// address that ISSUER/.well-known/openid-configuration names (OpenID Connect Discovery 1.0, section 4).
  std::string jwks = {};
  /// The provider's scopes (or roles) by the scope here that they give; empty: same names.
  std::map<std::string, std::string> scope_names = {};
  bool plain_type = false;  // typ "JWT" or none, too: for providers that do not follow RFC 9068
  /// The claim that lists scopes, a member of a member with dots between ("realm_access.roles"); empty: scope
  /// and scp.
  std::string scopes_claim = {};
  /// What the provider's tokens may give at most, whatever they say.
  std::vector<std::string> scopes = {"infer"};

  Path ca_file = {};                 // PEM: the CA of the provider's server; empty: the system's store
  bool allow_loopback_http = false;  // plain HTTP to this machine: a provider behind a local proxy
  std::chrono::milliseconds refresh{600'000};  // between fetches
  std::chrono::milliseconds retry{30'000};  // between fetches at least, however many tokens name unknown keys
  std::function<void(const std::string&)> warn = {};  // told of each failure, from any thread
};

class OutsideIssuer {
 public:
  /// kInvalidArgument for names that make no sense, else the errors of the file. A provider that does not
  /// answer is no error: it is asked again, and its tokens get 503 until it has answered once.
  static Result<std::unique_ptr<OutsideIssuer>> Open(OutsideIssuerOptions options);
  ~OutsideIssuer();

  const OutsideIssuerOptions& options() const { return options_; }
  /// The last good keys; null if there were none yet. Never waits for the network. A file that changed is
  /// read here, once, however many tokens ask for unknown keys.
  std::shared_ptr<const KeySet> Keys();
  /// A token named a key that is not there: the next fetch comes early, but not within `retry` of the last.
  void NoteUnknownKey();

  struct Stats {
    size_t keys = 0;
    int64_t loads = 0, failures = 0;    // fetches or reads so far
    double seconds_since_success = -1;  // -1: there was none
  };
  Stats stats() const;
  /// Reads of the file, or fetches, so far.

 private:
  explicit OutsideIssuer(OutsideIssuerOptions options) : options_(std::move(options)) {}
  Result<KeySet> ReadKeyFile() const;
  Status Take(Result<KeySet> keys);
  void Run();

  const OutsideIssuerOptions options_;
  mutable std::mutex mutex_;
  FileStamp stamp_;
  Stats stats_;
  std::chrono::steady_clock::time_point last_success_;
  std::shared_ptr<const KeySet> keys_;
  std::condition_variable wake_;
  bool ending_ = false, wanted_ = false;
  std::thread thread_;  // of an issuer whose keys are fetched
};

/// One fetch: discovery where options.jwks is empty, then the key set. kDataLoss for documents that are not
/// what they must be (another issuer's configuration, an address that is not https), else the errors of
/// HttpFetch and ParseJwkSet.
Result<KeySet> FetchKeySet(const OutsideIssuerOptions& options, const std::function<bool()>& cancelled);

}  // namespace hadal
