// Passwords, hashed with argon2id (RFC 9106) by libsodium.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/status.h"
#include "server/secrets.h"

namespace hadal {

/// What one hash costs; a verification costs what its hash did.
struct PasswordCost {
  unsigned long long passes = 2;
  size_t memory_bytes = size_t{64} << 20;
};

inline constexpr size_t kMinPasswordBytes = 10;
inline constexpr size_t kMaxPasswordBytes = 1024;

/// kInvalidArgument for a password that is too short or too long (NIST SP 800-63B asks for length, not for
/// kinds of characters).
Status CheckPassword(const Secret& password);
/// "$argon2id$..." with its salt. kResourceExhausted if there is not the memory.
Result<std::string> HashPassword(const Secret& password, const PasswordCost& cost = {});
/// False for every hash that is not argon2id's too.
bool VerifyPassword(const std::string& hash, const Secret& password);

}  // namespace hadal
