#include "server/pem.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <string_view>

#include "server/secrets.h"
#include "server/state_folder.h"

namespace hadal {
namespace {

/// What a memory BIO holds.
std::string_view TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

int NoPassphrase(char*, int, int, void*) { return -1; }

}  // namespace

Result<PkeyPtr> NewKey(bool ed25519) {
  PkeyPtr key(ed25519 ? EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519") : EVP_EC_gen("P-256"));
  if (key) return key;
  ERR_clear_error();
  return Internal("OpenSSL could not make a key");
}

bool IsP256(const EVP_PKEY* key) {
  char group[32];
  size_t size = 0;
  return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group), &size) == 1 &&
         std::string_view(group, size) == "prime256v1";
}

Status WritePrivateKey(const Path& path, EVP_PKEY* key) {
  // Secure memory BIOs wipe what they held.
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    ERR_clear_error();
    return Internal("OpenSSL could not write the key {}", path.string());
  }
  return WriteStateFile(path, TextOf(bio.get()));
}

Result<PkeyPtr> ReadPrivateKey(const Path& path) {
  ASSIGN_OR_RETURN(std::string text, ReadSecretFile(path));
  const BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  PkeyPtr key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr) : nullptr);
  Wipe(text);
  if (key) return key;
  ERR_clear_error();
  return DataLoss("{} holds no private key without a passphrase", path.string());
}

Status WriteCertificates(const Path& path, const std::vector<X509*>& chain) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  for (X509* certificate : chain) {
    if (bio && PEM_write_bio_X509(bio.get(), certificate) == 1) continue;
    ERR_clear_error();
    return Internal("OpenSSL could not write the certificate {}", path.string());
  }
  return WriteStateFile(path, TextOf(bio.get()), /*for_all=*/true);
}

Result<CertificatePtr> ReadCertificate(const Path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, size_t{1} << 20));
  const BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  CertificatePtr certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr) : nullptr);
  if (certificate) return certificate;
  ERR_clear_error();
  return DataLoss("{} holds no certificate", path.string());
}

}  // namespace hadal
