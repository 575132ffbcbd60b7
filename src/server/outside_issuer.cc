#include "server/outside_issuer.h"

namespace hadal {

Result<std::unique_ptr<OutsideIssuer>> OutsideIssuer::Open(OutsideIssuerOptions options) {
  if (options.issuer.empty() || options.audience.empty() || options.jwks_file.empty())
    return InvalidArgument(
        "an outside issuer needs its name, the audience of its tokens and its key set's file");
  std::unique_ptr<OutsideIssuer> issuer(new OutsideIssuer(std::move(options)));
  issuer->stamp_ = StampOf(issuer->options_.jwks_file);
  RETURN_IF_ERROR(issuer->Load());
  return issuer;
}

Status OutsideIssuer::Load() {
  const Path& file = options_.jwks_file;
  ++loads_;
  // A pipe would let whoever holds its other end keep us waiting.
  if (!stamp_.regular) return FailedPrecondition("the key set {} is not a regular file", file.string());
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxJwkSetBytes));
  Result<KeySet> keys = ParseJwkSet(text);
  if (!keys) return DataLoss("{}: {}", file.string(), keys.error().message);
  keys_ = std::make_shared<const KeySet>(std::move(*keys));
  return {};
}

std::shared_ptr<const KeySet> OutsideIssuer::Keys() {
  const std::lock_guard lock(mutex_);
  const FileStamp stamp = StampOf(options_.jwks_file);
  if (stamp == stamp_) return keys_;
  stamp_ = stamp;
  // A bad file is no reason to refuse those whose keys are known: an attacker would wish for nothing more.
  (void)Load();
  return keys_;
}

int64_t OutsideIssuer::loads() const {
  const std::lock_guard lock(mutex_);
  return loads_;
}

}  // namespace hadal
