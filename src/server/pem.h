// Private keys and certificates as PEM files in the state folder.
#pragma once

#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "server/openssl_ptr.h"

namespace hadal {

/// A new P-256 (or Ed25519) key.
Result<PkeyPtr> NewKey(bool ed25519);
bool IsP256(const EVP_PKEY* key);

/// PKCS 8 without a passphrase, mode 0600. The text is wiped from memory.
Status WritePrivateKey(const Path& path, EVP_PKEY* key);
/// Refuses a file that others may read. Never asks for a passphrase.
Result<PkeyPtr> ReadPrivateKey(const Path& path);

/// Mode 0644: a certificate is public.
Status WriteCertificates(const Path& path, const std::vector<X509*>& chain);
/// The first certificate of the file.
Result<CertificatePtr> ReadCertificate(const Path& path);

}  // namespace hadal
