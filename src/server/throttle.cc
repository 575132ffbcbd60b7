#include "server/throttle.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "server/secrets.h"

namespace hadal {
namespace {

/// Of fixed size, whatever a stranger calls himself.
std::string PairKey(std::string_view name, const std::string& address) {
  return Sha256(address + "\n" + std::string(name));
}

}  // namespace

std::string AddressKey(std::string_view peer) {
  const std::string text(peer.substr(0, peer.find('%')));
  in6_addr address;
  if (inet_pton(AF_INET6, text.c_str(), &address) != 1) return text.substr(0, INET6_ADDRSTRLEN);
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    char v4[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, address.s6_addr + 12, v4, sizeof(v4));
    return v4;
  }
  return std::string(reinterpret_cast<const char*>(address.s6_addr), 8);
}

int64_t LoginThrottle::Wait(const std::string& key, int64_t now) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? 0 : std::max<int64_t>(0, found->second.until - now);
}

void LoginThrottle::Count(const std::string& key, int free_failures, int64_t now) {
  Entry& entry = entries_[key];
  if (now - entry.last > options_.forget_seconds) entry.failures = 0;
  entry.last = now;
  entry.failures = std::min(entry.failures + 1, 1 << 20);
  const int doublings = entry.failures - free_failures;
  if (doublings < 0) return;
  const int64_t wait = options_.first_wait_seconds << std::min(doublings, 20);
  entry.until = now + std::min(wait, options_.max_wait_seconds);
}

void LoginThrottle::MakeRoom(int64_t now) {
  if (entries_.size() + 2 <= options_.max_entries) return;
  std::erase_if(entries_, [&](const auto& item) { return now - item.second.last > options_.forget_seconds; });
  if (entries_.size() + 2 <= options_.max_entries) return;
  // Still full: those that wait for nothing go first, then all. To fill the table again takes an attacker as
  // many password hashes as it has entries.
  std::erase_if(entries_, [&](const auto& item) { return item.second.until <= now; });
  if (entries_.size() + 2 > options_.max_entries) entries_.clear();
}

int64_t LoginThrottle::Begin(std::string_view name, std::string_view peer, int64_t now) {
  const std::string address = AddressKey(peer), pair = PairKey(name, address);
  const std::lock_guard lock(mutex_);
  const int64_t wait = std::max(Wait(pair, now), Wait(address, now));
  if (wait > 0) return wait;
  MakeRoom(now);
  Count(pair, options_.free_failures, now);
  Count(address, options_.address_failures, now);
  return 0;
}

void LoginThrottle::Succeeded(std::string_view name, std::string_view peer) {
  const std::string address = AddressKey(peer);
  const std::lock_guard lock(mutex_);
  entries_.erase(PairKey(name, address));
  const auto found = entries_.find(address);
  // The address keeps the failures of others: a guesser with one account of his own must not reset them.
  if (found == entries_.end() || --found->second.failures > 0) return;
  entries_.erase(found);
}

size_t LoginThrottle::entries() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace hadal
