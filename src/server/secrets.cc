#include "server/secrets.h"

#include <openssl/crypto.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "server/base64url.h"

namespace hadal {
namespace {

constexpr size_t kIdDigits = 16;
constexpr size_t kSecretLetters = 43;  // 32 bytes in base64url

bool IsHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

void WipeMemory(void* data, size_t size) { OPENSSL_cleanse(data, size); }

void AppendWiping(std::string& text, std::string_view more, size_t most) {
  const size_t size = text.size() + more.size();
  if (size > text.capacity()) {
    std::string larger;
    larger.reserve(std::max(size, std::min(most, 2 * text.capacity())));
    larger.append(text);
    Wipe(text);
    text = std::move(larger);
  }
  text.append(more);
}

void Wipe(std::string& text) {
  text.resize(text.capacity());  // so that what an earlier, longer value left there goes too
  WipeMemory(text.data(), text.size());
  text.clear();
}

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string Sha256(std::string_view text) {
  std::string hash(crypto_hash_sha256_BYTES, '\0');
  crypto_hash_sha256(reinterpret_cast<unsigned char*>(hash.data()),
                     reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return hash;
}

std::string RandomBytes(size_t bytes) {
  HADAL_CHECK(sodium_init() >= 0, "libsodium found no source of randomness");
  std::string random(bytes, '\0');
  randombytes_buf(random.data(), random.size());
  return random;
}

std::string RandomText(size_t bytes) {
  std::string random = RandomBytes(bytes);
  std::string text = Base64UrlEncode(random);
  Wipe(random);
  return text;
}

std::string RandomHex(size_t bytes) {
  std::string text;
  for (const char c : RandomBytes(bytes)) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

Status ForbidCoreDumps() {
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
    return Unavailable("the kernel does not let this process do without core dumps: {}",
                       std::strerror(errno));
  return {};
}

std::string OpaqueToken::Text(std::string_view prefix) const {
  return fmt::format("{}_{}_{}", prefix, id, secret);
}

OpaqueToken NewOpaqueToken() { return {RandomHex(kIdDigits / 2), RandomText(32)}; }

bool ParseOpaqueToken(std::string_view text, std::string_view prefix, OpaqueToken& token) {
  // Fixed places: base64url has underscores of its own.
  if (text.size() != prefix.size() + kIdDigits + kSecretLetters + 2) return false;
  if (!text.starts_with(prefix) || text[prefix.size()] != '_') return false;
  text.remove_prefix(prefix.size() + 1);
  const std::string_view id = text.substr(0, kIdDigits), secret = text.substr(kIdDigits + 1);
  if (text[kIdDigits] != '_' || !std::all_of(id.begin(), id.end(), IsHex)) return false;
  if (!Base64UrlDecode(secret)) return false;
  token = {std::string(id), std::string(secret)};
  return true;
}

}  // namespace hadal
