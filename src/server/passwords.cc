#include "server/passwords.h"

#include <sodium.h>

#include "base/check.h"

namespace hadal {

Status CheckPassword(const Secret& password) {
  const size_t size = password.view().size();
  if (size < kMinPasswordBytes)
    return InvalidArgument("the password has {} bytes; at least {} are asked for", size, kMinPasswordBytes);
  if (size > kMaxPasswordBytes)
    return InvalidArgument("the password has {} bytes; at most {} are taken", size, kMaxPasswordBytes);
  return {};
}

Result<std::string> HashPassword(const Secret& password, const PasswordCost& cost) {
  HADAL_CHECK(sodium_init() >= 0, "libsodium found no source of randomness");
  std::string hash(crypto_pwhash_STRBYTES, '\0');
  const std::string_view text = password.view();
  if (crypto_pwhash_str_alg(hash.data(), text.data(), text.size(), cost.passes, cost.memory_bytes,
                            crypto_pwhash_ALG_ARGON2ID13) != 0)
    return ResourceExhausted("hashing a password takes {} bytes of memory, which are not there",
                             cost.memory_bytes);
  hash.resize(hash.find('\0'));
  return hash;
}

bool VerifyPassword(const std::string& hash, const Secret& password) {
  HADAL_CHECK(sodium_init() >= 0, "libsodium found no source of randomness");
  // The library reads a buffer of fixed size.
  if (!hash.starts_with("$argon2id$") || hash.size() >= crypto_pwhash_STRBYTES) return false;
  const std::string_view text = password.view();
  return crypto_pwhash_str_verify(hash.c_str(), text.data(), text.size()) == 0;
}

}  // namespace hadal
