// An identity provider outside (OIDC) whose tokens are accepted: its key set comes from a file, which is read
// again when it changes.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "server/jwk.h"
#include "server/state_folder.h"

namespace hadal {

struct OutsideIssuerOptions {
  std::string issuer;    // iss, exactly
  std::string audience;  // aud, exactly
  Path jwks_file;        // a JWK set; whoever fetches it replaces the file by a rename
  /// The provider's scopes (or roles in "scope"/"scp") by the scope here that they give; empty: same names.
  std::map<std::string, std::string> scope_names;
  bool plain_type = false;  // typ "JWT" or none, too: for providers that do not follow RFC 9068
};

/// Thread-safe.
class OutsideIssuer {
 public:
  /// kInvalidArgument for empty names, else the errors of the file.
  static Result<std::unique_ptr<OutsideIssuer>> Open(OutsideIssuerOptions options);

  const OutsideIssuerOptions& options() const { return options_; }
  /// The keys. A file that changed and is now bad leaves the keys that were good; it is read once, however
  /// many tokens ask for unknown keys.
  std::shared_ptr<const KeySet> Keys();
  /// Reads of the file so far.
  int64_t loads() const;

 private:
  explicit OutsideIssuer(OutsideIssuerOptions options) : options_(std::move(options)) {}
  Status Load();

  const OutsideIssuerOptions options_;
  mutable std::mutex mutex_;
  FileStamp stamp_;
  int64_t loads_ = 0;
  std::shared_ptr<const KeySet> keys_;
};

}  // namespace hadal
