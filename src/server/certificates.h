// The internal CA: one P-256 root in the state folder, and the certificates that it signs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// Makes STATE/ca.crt and STATE/ca.key. `name` is the CA's common name, at most 64 bytes.
/// kFailedPrecondition if there is a CA: all that trusts it would be cut off.
Status InitCa(const Path& state_folder, std::string_view name, int days = 3650);

struct CertificateRequest {
  std::string name = {};                // common name, at most 64 bytes
  std::vector<std::string> hosts = {};  // subject alternative names: DNS names and IP addresses
  bool server = true;                   // extended key usage
  bool client = false;
  int days = 397;       // at most the CA's own rest
  int64_t seconds = 0;  // instead of days, if not 0
};
inline constexpr int64_t kServerCertificateSeconds = int64_t{397} * 86400;

/// Signs a new P-256 key and writes both files, the key with mode 0600. kNotFound without a CA,
/// kInvalidArgument for a name or host that no certificate can hold.
Status IssueCertificate(const Path& state_folder, const CertificateRequest& request, const Path& certificate,
                        const Path& key);

/// Makes the CA and STATE/server.crt, server.key where they are missing; renews the certificate when less
/// than a third of `lifetime_seconds` is left of it, it does not cover `hosts`, is of another CA, or its key
/// is another's. One that ends with its CA is not renewed before it has ended: the next would end no later.
/// @return whether a certificate was made.
Result<bool> EnsureServerCertificate(const Path& state_folder, const std::vector<std::string>& hosts,
                                     int64_t lifetime_seconds = kServerCertificateSeconds);

/// localhost, its addresses, and the machine's name.
std::vector<std::string> LocalHosts();

/// What a person wants to know of a certificate file.
struct CertificateInfo {
  std::string subject;
  std::string not_after;  // "2027-12-31T23:59:59Z"
  std::string sha256;     // hexadecimal fingerprint
};
Result<CertificateInfo> DescribeCertificate(const Path& certificate);

}  // namespace hadal
