// The keys that sign this server's tokens: STATE/keys/NNNN.pem, the highest number signs, all verify.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "server/jwt.h"
#include "server/state_folder.h"

namespace hadal {

/// A loaded state of the folder.
struct SigningKeyRing {
  SigningKey signer;
  KeySet verifiers;
};

/// Thread-safe. Sees what another process does to the folder (a rotation by the command line, a key taken
/// away) at the next call.
class SigningKeys {
 public:
  /// Makes the folder and a first key if there is none. Errors name the file.
  static Result<std::unique_ptr<SigningKeys>> Open(const Path& state_folder);

  /// The keys as they are now. If the folder cannot be read any more, the error, not the old keys: a key that
  /// was taken away must not go on.
  Result<std::shared_ptr<const SigningKeyRing>> Current();

  /// Adds a key of `algorithm` (ES256 or EdDSA), which signs from now on; the older ones verify until Prune.
  Status Rotate(JwsAlgorithm algorithm);
  /// Removes those that stopped signing longer than `seconds` ago: every token of theirs has expired.
  /// @return how many.
  Result<int> Prune(int64_t seconds);

 private:
  explicit SigningKeys(Path folder) : folder_(std::move(folder)) {}

  Path folder_;
  std::mutex mutex_;
  FileStamp stamp_;
  bool settled_ = false;  // whether stamp_ was old enough to tell of any later change
  std::shared_ptr<const SigningKeyRing> ring_;
};

}  // namespace hadal
