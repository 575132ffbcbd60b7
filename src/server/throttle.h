// Slows down those who guess passwords, by who is guessed and from where.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace hadal {

/// After `free_failures` failures each further one doubles the wait, up to `max_wait_seconds`. A pair of name
/// and address waits by itself, so that an attacker cannot lock the owner out; an address waits for all names
/// together after `address_failures`. IPv6 addresses count by their /64. Thread-safe, bounded memory.
struct ThrottleOptions {
  int free_failures = 5;
  int address_failures = 50;
  int64_t first_wait_seconds = 1;
  int64_t max_wait_seconds = 900;
  int64_t forget_seconds = 3600;  // without a failure
  size_t max_entries = 65536;
};

class LoginThrottle {
 public:
  explicit LoginThrottle(ThrottleOptions options = {}) : options_(options) {}

  /// Seconds to wait before `name` may be tried from `peer`; 0: go on. A trial that goes on counts as a
  /// failure until Succeeded, so that trials side by side do not slip through.
  int64_t Begin(std::string_view name, std::string_view peer, int64_t now);
  /// The name's failures from there are forgotten.
  void Succeeded(std::string_view name, std::string_view peer);

  size_t entries() const;

 private:
  struct Entry {
    int failures = 0;
    int64_t last = 0, until = 0;
  };
  int64_t Wait(const std::string& key, int64_t now) const;
  void Count(const std::string& key, int free_failures, int64_t now);
  void MakeRoom(int64_t now);

  const ThrottleOptions options_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
};

/// The part of a numeric address that stands for one customer: an IPv4 address, the /64 of an IPv6 one.
std::string AddressKey(std::string_view peer);

}  // namespace hadal
