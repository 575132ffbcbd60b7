// Secrets in memory: wiped after use, compared in constant time, kept out of core dumps.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hadal {

/// Overwrites memory in a way that the compiler cannot drop.
void WipeMemory(void* data, size_t size);
/// Overwrites the text and its spare capacity, and leaves it empty.
void Wipe(std::string& text);

/// Appends; what growing leaves behind is overwritten. Room is taken for `most` bytes at most, if those suffice.
void AppendWiping(std::string& text, std::string_view more, size_t most);

template <typename T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <typename U>
  WipingAllocator(const WipingAllocator<U>&) {}
  T* allocate(size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* data, size_t count) {
    WipeMemory(data, count * sizeof(T));
    std::allocator<T>().deallocate(data, count);
  }
  bool operator==(const WipingAllocator&) const { return true; }
};

/// A password or key. It lives on the heap only (no small-string copies in stack frames), and every buffer it
/// ever had is wiped before it is freed.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string_view text) : bytes_(text.begin(), text.end()) {}
  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }
  void Append(char c) { bytes_.push_back(c); }
  void RemoveLast() { bytes_.pop_back(); }
  bool empty() const { return bytes_.empty(); }

 private:
  std::vector<char, WipingAllocator<char>> bytes_;
};

/// Whether the texts are equal; the time tells nothing but their lengths.
bool EqualInConstantTime(std::string_view a, std::string_view b);

/// 32 raw bytes.
std::string Sha256(std::string_view text);

/// `bytes` bytes of the kernel's randomness, as they are / in base64url / in hexadecimal.
std::string RandomBytes(size_t bytes);
std::string RandomText(size_t bytes);
std::string RandomHex(size_t bytes);

/// Takes care that this process writes no core dump and that others of the same user cannot attach to it and
/// read its keys. kUnavailable if the kernel refuses.
Status ForbidCoreDumps();

/// A secret that its holder presents and of which only the hash is stored: "hk_ID_SECRET".
///   prefix: 2 letters; ID: 16 hexadecimal digits, for finding the record; SECRET: 32 random bytes in
///   base64url.
struct OpaqueToken {
  std::string id;
  std::string secret;
  std::string Text(std::string_view prefix) const;
};
inline constexpr std::string_view kApiKeyPrefix = "hk";
inline constexpr std::string_view kRefreshPrefix = "hr";
OpaqueToken NewOpaqueToken();
/// False if `text` is not of that form; whether it is known is another matter.
bool ParseOpaqueToken(std::string_view text, std::string_view prefix, OpaqueToken& token);

}  // namespace hadal
