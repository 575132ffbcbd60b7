#include "server/keys.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <system_error>
#include <vector>

#include "server/openssl_ptr.h"
#include "server/pem.h"

namespace hadal {
namespace {

constexpr size_t kMaxKeys = 1000;  // files in the folder; each costs a line in the key set

/// NNNN of NNNN.pem; 0 for other names.
int NumberOf(const Path& path) {
  const std::string stem = path.stem().string();
  if (path.extension() != ".pem" || stem.size() != 4 ||
      !std::all_of(stem.begin(), stem.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return 0;
  return std::stoi(stem);
}

/// The key files, in order of their numbers.
Result<std::vector<Path>> KeyFiles(const Path& folder) {
  std::error_code error;
  std::vector<Path> files;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    if (NumberOf(entry->path()) > 0) files.push_back(entry->path());
  if (error) return Unavailable("cannot list {}: {}", folder.string(), error.message());
  if (files.size() > kMaxKeys)
    return ResourceExhausted("{} holds {} keys; at most {} are read", folder.string(), files.size(),
                             kMaxKeys);
  std::sort(files.begin(), files.end());
  return files;
}

Result<SigningKey> LoadKey(const Path& path) {
  ASSIGN_OR_RETURN(PkeyPtr key, ReadPrivateKey(path));
  SigningKey signer;
  if (EVP_PKEY_is_a(key.get(), "ED25519") == 1) {
    signer.algorithm = JwsAlgorithm::kEdDsa;
  } else if (EVP_PKEY_is_a(key.get(), "EC") == 1 && IsP256(key.get())) {
    signer.algorithm = JwsAlgorithm::kEs256;
  } else {
    return DataLoss("{} holds a key of another kind; tokens are signed with P-256 or Ed25519", path.string());
  }
  signer.kid = JwkThumbprint(key.get(), signer.algorithm);
  signer.key = std::move(key);
  return signer;
}

Result<std::shared_ptr<const SigningKeyRing>> LoadRing(const Path& folder) {
  ASSIGN_OR_RETURN(const std::vector<Path> files, KeyFiles(folder));
  if (files.empty()) return NotFound("{} holds no key; run 'hadal token rotate'", folder.string());
  auto ring = std::make_shared<SigningKeyRing>();
  for (const Path& file : files) {
    ASSIGN_OR_RETURN(ring->signer, LoadKey(file));
    ring->verifiers.Add({ring->signer.kid, ring->signer.algorithm, ring->signer.key});
  }
  return ring;
}

}  // namespace

Result<std::unique_ptr<SigningKeys>> SigningKeys::Open(const Path& state_folder) {
  const Path folder = state_folder / "keys";
  RETURN_IF_ERROR(OpenStateFolder(folder));
  std::unique_ptr<SigningKeys> keys(new SigningKeys(folder));
  {
    ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(state_folder));
    ASSIGN_OR_RETURN(const std::vector<Path> files, KeyFiles(folder));
    if (files.empty()) {
      ASSIGN_OR_RETURN(const PkeyPtr key, NewKey(/*ed25519=*/false));
      RETURN_IF_ERROR(WritePrivateKey(folder / "0001.pem", key.get()));
    }
  }
  RETURN_IF_ERROR(keys->Current());
  return keys;
}

Result<std::shared_ptr<const SigningKeyRing>> SigningKeys::Current() {
  const std::lock_guard lock(mutex_);
  const FileStamp stamp = StampOf(folder_);
  if (ring_ && stamp == stamp_ && settled_) return ring_;
  const bool settled = !IsFresh(stamp);
  ASSIGN_OR_RETURN(ring_, LoadRing(folder_));
  stamp_ = stamp;
  settled_ = settled;
  return ring_;
}

Status SigningKeys::Rotate(JwsAlgorithm algorithm) {
  if (algorithm != JwsAlgorithm::kEs256 && algorithm != JwsAlgorithm::kEdDsa)
    return InvalidArgument("tokens are signed with ES256 or EdDSA, not with {}", JwsName(algorithm));
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(folder_.parent_path()));
  ASSIGN_OR_RETURN(const std::vector<Path> files, KeyFiles(folder_));
  const int number = files.empty() ? 1 : NumberOf(files.back()) + 1;
  if (number > 9999) return ResourceExhausted("{} has no number left for a new key", folder_.string());
  ASSIGN_OR_RETURN(const PkeyPtr key, NewKey(algorithm == JwsAlgorithm::kEdDsa));
  return WritePrivateKey(folder_ / fmt::format("{:04}.pem", number), key.get());
}

Result<int> SigningKeys::Prune(int64_t seconds) {
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(folder_.parent_path()));
  ASSIGN_OR_RETURN(const std::vector<Path> files, KeyFiles(folder_));
  int removed = 0;
  for (size_t i = 0; i + 1 < files.size(); ++i) {
    // A key stopped signing when the next was written.
    const int64_t stopped = StampOf(files[i + 1]).mtime_ns / 1'000'000'000;
    if (std::time(nullptr) - stopped <= seconds) break;
    std::error_code error;
    std::filesystem::remove(files[i], error);
    if (error) return Unavailable("cannot remove {}: {}", files[i].string(), error.message());
    ++removed;
  }
  if (removed > 0) RETURN_IF_ERROR(SyncFolder(folder_));
  return removed;
}

}  // namespace hadal
