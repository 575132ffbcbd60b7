#include "server/outside_issuer.h"

#include <algorithm>

#include "server/auth_types.h"

namespace hadal {
namespace {

constexpr size_t kMaxIssuerLetters = 256;
constexpr int kMaxDoublings = 5;

bool IsUrl(const std::string& text) { return text.starts_with("https://") || text.starts_with("http://"); }

/// The name becomes a part of subjects ("ISSUER|SUB"), which must not be those of accounts here, nor
/// ambiguous.
Status CheckOptions(const OutsideIssuerOptions& options) {
  const std::string& issuer = options.issuer;
  const bool address = issuer.starts_with("https://") || (options.allow_loopback_http && IsUrl(issuer));
  const bool plain =
      std::all_of(issuer.begin(), issuer.end(), [](char c) { return c > ' ' && c < 127 && c != '|'; });
  if (!address || !plain || issuer.size() > kMaxIssuerLetters)
    return InvalidArgument(
        "the name of an outside issuer is an https:// address of at most {} letters, as its tokens "
        "write it in iss",
        kMaxIssuerLetters);
  if (options.audience.empty())
    return InvalidArgument(
        "the outside issuer {} needs the audience that its tokens for this service have in aud", issuer);
  if (options.jwks.starts_with("http://") && !options.allow_loopback_http)
    return InvalidArgument("the key set of {} must come from an https:// address or a file", issuer);
  const Result<std::vector<std::string>> scopes = ParseScopes(JoinScopes(options.scopes));
  if (!scopes) return InvalidArgument("the scopes of {}: {}", issuer, scopes.error().message);
  if (options.refresh.count() <= 0 || options.retry.count() <= 0)
    return InvalidArgument("the times between fetches of {}'s keys must be positive", issuer);
  return {};
}

}  // namespace

Result<std::unique_ptr<OutsideIssuer>> OutsideIssuer::Open(OutsideIssuerOptions options) {
  RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<OutsideIssuer> issuer(new OutsideIssuer(std::move(options)));
  const std::string& jwks = issuer->options_.jwks;
  if (jwks.empty() || IsUrl(jwks)) {
    issuer->thread_ = std::thread([raw = issuer.get()] { raw->Run(); });
    return issuer;
  }
  issuer->stamp_ = StampOf(jwks);
  RETURN_IF_ERROR(issuer->Take(issuer->ReadKeyFile()));
  return issuer;
}

OutsideIssuer::~OutsideIssuer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<KeySet> OutsideIssuer::ReadKeyFile() const {
  const std::string& file = options_.jwks;
  // A pipe would let whoever holds its other end keep us waiting.
  if (!stamp_.regular) return FailedPrecondition("the key set {} is not a regular file", file);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxJwkSetBytes));
  Result<KeySet> keys = ParseJwkSet(text);
  if (!keys) return DataLoss("{}: {}", file, keys.error().message);
  return keys;
}

/// Puts new keys in the place of the old. A bad set is no reason to refuse those whose keys are known: an
/// attacker would wish for nothing more.
Status OutsideIssuer::Take(Result<KeySet> keys) {
  ++stats_.loads;
  if (!keys) {
    ++stats_.failures;
    if (options_.warn)
      options_.warn(fmt::format("the keys of {} could not be renewed; {}: {}", options_.issuer,
                                keys_ ? "those known stay in use" : "its tokens cannot be checked",
                                keys.error().message));
    return tl::unexpected(keys.error());
  }
  keys_ = std::make_shared<const KeySet>(std::move(*keys));
  stats_.keys = keys_->size();
  last_success_ = std::chrono::steady_clock::now();
  return {};
}

std::shared_ptr<const KeySet> OutsideIssuer::Keys() {
  const std::lock_guard lock(mutex_);
  if (thread_.joinable()) return keys_;
  const FileStamp stamp = StampOf(options_.jwks);
  if (stamp == stamp_) return keys_;
  stamp_ = stamp;
  (void)Take(ReadKeyFile());
  return keys_;
}

void OutsideIssuer::NoteUnknownKey() {
  const std::lock_guard lock(mutex_);
  if (wanted_) return;
  wanted_ = true;
  wake_.notify_all();
}

OutsideIssuer::Stats OutsideIssuer::stats() const {
  const std::lock_guard lock(mutex_);
  Stats stats = stats_;
  if (keys_)
    stats.seconds_since_success =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - last_success_).count();
  return stats;
}

void OutsideIssuer::Run() {
  const auto cancelled = [this] {
    const std::lock_guard lock(mutex_);
    return ending_;
  };
  int failed = 0;  // in a row
  while (!cancelled()) {
    Result<KeySet> keys = FetchKeySet(options_, cancelled);
    std::unique_lock lock(mutex_);
    if (ending_) return;
    failed = Take(std::move(keys)) ? 0 : std::min(failed + 1, kMaxDoublings);
    const auto now = std::chrono::steady_clock::now();
    const auto pause =
        failed == 0 ? options_.refresh : std::min(options_.refresh, options_.retry * (1 << (failed - 1)));
    if (wake_.wait_until(lock, now + options_.retry, [this] { return ending_; })) return;
    // Tokens that asked meanwhile did so before or after the new keys: one more fetch answers both.
    wake_.wait_until(lock, now + pause, [this] { return ending_ || wanted_; });
    wanted_ = false;
  }
}

}  // namespace hadal
