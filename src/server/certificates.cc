#include "server/certificates.h"

#include <arpa/inet.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "server/pem.h"
#include "server/secrets.h"
#include "server/state_folder.h"

namespace hadal {
namespace {

constexpr size_t kMaxNameBytes = 64;  // X.520's limit of a common name
constexpr size_t kMaxHosts = 100;
constexpr int kMaxDays = 36500;
constexpr int64_t kSecondsADay = 86400;
constexpr long kClockSkewSeconds = 300;  // machines whose clock is a little behind

using GeneralNamesPtr = OpenSslPtr<GENERAL_NAMES, GENERAL_NAMES_free>;
using GeneralNamePtr = OpenSslPtr<GENERAL_NAME, GENERAL_NAME_free>;

struct Authority {
  CertificatePtr certificate;
  PkeyPtr key;
};

tl::unexpected<Error> OpenSslError(const char* doing) {
  ERR_clear_error();
  return Internal("OpenSSL could not {}", doing);
}

Status CheckName(std::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(),
                                 [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != 127; });
  if (!name.empty() && name.size() <= kMaxNameBytes && plain) return {};
  return InvalidArgument("the name of a certificate has 1 to {} bytes and no control characters",
                         kMaxNameBytes);
}

/// 4 or 16 bytes of an IP address; empty for other texts.
std::string AddressBytes(const std::string& host) {
  unsigned char bytes[16];
  if (inet_pton(AF_INET, host.c_str(), bytes) == 1) return {reinterpret_cast<char*>(bytes), 4};
  if (inet_pton(AF_INET6, host.c_str(), bytes) == 1) return {reinterpret_cast<char*>(bytes), 16};
  return {};
}

bool IsDnsName(std::string_view host) {
  if (host.starts_with("*.")) host.remove_prefix(2);
  return !host.empty() && host.size() <= 253 && host.front() != '.' && host.front() != '-' &&
         std::all_of(host.begin(), host.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                  c == '.' || c == '_';
         });
}

Result<GeneralNamePtr> GeneralNameOf(const std::string& host) {
  const std::string address = AddressBytes(host);
  if (address.empty() && !IsDnsName(host))
    return InvalidArgument("a host of the certificate is neither a DNS name nor an IP address");
  const std::string& bytes = address.empty() ? host : address;
  GeneralNamePtr name(GENERAL_NAME_new());
  ASN1_STRING* value = address.empty() ? ASN1_IA5STRING_new() : ASN1_OCTET_STRING_new();
  if (!name || value == nullptr ||
      ASN1_STRING_set(value, bytes.data(), static_cast<int>(bytes.size())) != 1) {
    ASN1_STRING_free(value);
    return OpenSslError("write a name");
  }
  GENERAL_NAME_set0_value(name.get(), address.empty() ? GEN_DNS : GEN_IPADD, value);
  return name;
}

/// Names go in as values, never through OpenSSL's configuration syntax, where a comma would begin another.
Status AddHosts(X509* certificate, const std::vector<std::string>& hosts) {
  if (hosts.size() > kMaxHosts) return InvalidArgument("a certificate holds at most {} hosts", kMaxHosts);
  if (hosts.empty()) return {};
  const GeneralNamesPtr names(GENERAL_NAMES_new());
  for (const std::string& host : hosts) {
    ASSIGN_OR_RETURN(GeneralNamePtr name, GeneralNameOf(host));
    if (!names || sk_GENERAL_NAME_push(names.get(), name.get()) == 0) return OpenSslError("write a name");
    name.release();
  }
  if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) != 1)
    return OpenSslError("write the names");
  return {};
}

/// `text`: ours alone, in OpenSSL's configuration syntax.
Status AddExtension(X509* certificate, X509* issuer, int nid, const char* text) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, text));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1)
    return OpenSslError("write an extension of a certificate");
  return {};
}

/// Version, a random serial number, subject, key, and `seconds` from now.
Result<CertificatePtr> Blank(std::string_view name, EVP_PKEY* key, int64_t seconds) {
  RETURN_IF_ERROR(CheckName(name));
  if (seconds < 1 || seconds > kMaxDays * kSecondsADay)
    return InvalidArgument("a certificate holds for at most {} days, and not for {} seconds", kMaxDays,
                           seconds);
  const int days = static_cast<int>(seconds / kSecondsADay);
  const long rest = static_cast<long>(seconds % kSecondsADay);
  CertificatePtr certificate(X509_new());
  std::string serial = RandomBytes(16);
  serial[0] = static_cast<char>((serial[0] & 0x3f) | 0x40);  // positive, of full length
  const BigNumPtr number(BN_bin2bn(reinterpret_cast<const unsigned char*>(serial.data()),
                                   static_cast<int>(serial.size()), nullptr));
  X509_NAME* subject = certificate ? X509_get_subject_name(certificate.get()) : nullptr;
  const bool good = certificate && number && X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
                    BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr &&
                    X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                               reinterpret_cast<const unsigned char*>(name.data()),
                                               static_cast<int>(name.size()), -1, 0) == 1 &&
                    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kClockSkewSeconds) != nullptr &&
                    X509_time_adj_ex(X509_getm_notAfter(certificate.get()), days, rest, nullptr) != nullptr &&
                    X509_set_pubkey(certificate.get(), key) == 1;
  if (!good) return OpenSslError("make a certificate; is its name UTF-8?");
  return certificate;
}

Status Sign(X509* certificate, EVP_PKEY* key) {
  if (X509_sign(certificate, key, EVP_sha256()) > 0) return {};
  return OpenSslError("sign a certificate");
}

Status InitCaLocked(const Path& state_folder, std::string_view name, int days) {
  ASSIGN_OR_RETURN(const PkeyPtr key, NewKey(/*ed25519=*/false));
  ASSIGN_OR_RETURN(const CertificatePtr certificate, Blank(name, key.get(), days * kSecondsADay));
  X509* root = certificate.get();
  if (X509_set_issuer_name(root, X509_get_subject_name(root)) != 1) return OpenSslError("name the CA");
  RETURN_IF_ERROR(AddExtension(root, root, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  RETURN_IF_ERROR(AddExtension(root, root, NID_key_usage, "critical,keyCertSign,cRLSign"));
  RETURN_IF_ERROR(AddExtension(root, root, NID_subject_key_identifier, "hash"));
  RETURN_IF_ERROR(Sign(root, key.get()));
  // The certificate last: a CA is there when its certificate is.
  RETURN_IF_ERROR(WritePrivateKey(state_folder / "ca.key", key.get()));
  return WriteCertificates(state_folder / "ca.crt", {root});
}

Result<Authority> LoadCa(const Path& state_folder) {
  Authority ca;
  ASSIGN_OR_RETURN(ca.certificate, ReadCertificate(state_folder / "ca.crt"));
  ASSIGN_OR_RETURN(ca.key, ReadPrivateKey(state_folder / "ca.key"));
  if (X509_check_private_key(ca.certificate.get(), ca.key.get()) == 1) return ca;
  ERR_clear_error();
  return DataLoss("ca.key in {} is not the key of ca.crt", state_folder.string());
}

Status IssueLocked(const Authority& ca, const CertificateRequest& request, const Path& certificate_path,
                   const Path& key_path) {
  if (!request.server && !request.client)
    return InvalidArgument("a certificate is for a server, a client or both");
  ASSIGN_OR_RETURN(const PkeyPtr key, NewKey(/*ed25519=*/false));
  const int64_t seconds = request.seconds != 0 ? request.seconds : request.days * kSecondsADay;
  ASSIGN_OR_RETURN(const CertificatePtr certificate, Blank(request.name, key.get(), seconds));
  X509* leaf = certificate.get();
  X509* root = ca.certificate.get();
  // A certificate that outlives its CA would only seem valid.
  if (ASN1_TIME_compare(X509_get0_notAfter(leaf), X509_get0_notAfter(root)) > 0 &&
      X509_set1_notAfter(leaf, X509_get0_notAfter(root)) != 1)
    return OpenSslError("limit a certificate to the life of its CA");
  if (X509_set_issuer_name(leaf, X509_get_subject_name(root)) != 1) return OpenSslError("name the issuer");
  RETURN_IF_ERROR(AddExtension(leaf, root, NID_basic_constraints, "critical,CA:FALSE"));
  RETURN_IF_ERROR(AddExtension(leaf, root, NID_key_usage, "critical,digitalSignature"));
  RETURN_IF_ERROR(AddExtension(leaf, root, NID_ext_key_usage,
                               request.server && request.client ? "serverAuth,clientAuth"
                               : request.server                 ? "serverAuth"
                                                                : "clientAuth"));
  RETURN_IF_ERROR(AddExtension(leaf, root, NID_subject_key_identifier, "hash"));
  RETURN_IF_ERROR(AddExtension(leaf, root, NID_authority_key_identifier, "keyid:always"));
  RETURN_IF_ERROR(AddHosts(leaf, request.hosts));
  RETURN_IF_ERROR(Sign(leaf, ca.key.get()));
  RETURN_IF_ERROR(WritePrivateKey(key_path, key.get()));
  return WriteCertificates(certificate_path, {leaf});
}

/// Whether the server's certificate can stay in use.
bool IsGood(const Authority& ca, X509* certificate, EVP_PKEY* key, const std::vector<std::string>& hosts,
            int64_t lifetime_seconds) {
  const ASN1_TIME* end = X509_get0_notAfter(certificate);
  const bool ends_with_ca = ASN1_TIME_compare(end, X509_get0_notAfter(ca.certificate.get())) >= 0;
  const time_t needed = std::time(nullptr) + (ends_with_ca ? 0 : lifetime_seconds / 3);
  bool good = X509_verify(certificate, ca.key.get()) == 1 && X509_check_private_key(certificate, key) == 1 &&
              ASN1_TIME_cmp_time_t(end, needed) > 0;
  for (const std::string& host : hosts) {
    const std::string address = AddressBytes(host);
    good = good && (address.empty()
                        ? X509_check_host(certificate, host.data(), host.size(), 0, nullptr) == 1
                        : X509_check_ip(certificate, reinterpret_cast<const unsigned char*>(address.data()),
                                        address.size(), 0) == 1);
  }
  ERR_clear_error();
  return good;
}

bool Exists(const Path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

}  // namespace

Status InitCa(const Path& state_folder, std::string_view name, int days) {
  RETURN_IF_ERROR(OpenStateFolder(state_folder));
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(state_folder));
  const Path certificate = state_folder / "ca.crt";
  if (!Exists(certificate)) return InitCaLocked(state_folder, name, days);
  return FailedPrecondition(
      "there is a CA in {}; whoever trusts it would be cut off by a new one; remove ca.crt "
      "and ca.key first if that is meant",
      state_folder.string());
}

Status IssueCertificate(const Path& state_folder, const CertificateRequest& request, const Path& certificate,
                        const Path& key) {
  ASSIGN_OR_RETURN(const Authority ca, LoadCa(state_folder));
  return IssueLocked(ca, request, certificate, key);
}

Result<bool> EnsureServerCertificate(const Path& state_folder, const std::vector<std::string>& hosts,
                                     int64_t lifetime_seconds) {
  RETURN_IF_ERROR(OpenStateFolder(state_folder));
  ASSIGN_OR_RETURN(const StateLock lock, StateLock::Take(state_folder));
  if (!Exists(state_folder / "ca.crt"))
    RETURN_IF_ERROR(InitCaLocked(state_folder, "hadal internal CA", 3650));
  ASSIGN_OR_RETURN(const Authority ca, LoadCa(state_folder));
  const Path certificate_path = state_folder / "server.crt", key_path = state_folder / "server.key";
  const auto certificate = ReadCertificate(certificate_path);
  const auto key = ReadPrivateKey(key_path);
  if (certificate && key && IsGood(ca, certificate->get(), key->get(), hosts, lifetime_seconds)) return false;
  const std::string name = hosts.empty() ? "hadal" : hosts.front().substr(0, kMaxNameBytes);
  RETURN_IF_ERROR(IssueLocked(ca, {.name = name, .hosts = hosts, .seconds = lifetime_seconds},
                              certificate_path, key_path));
  return true;
}

std::vector<std::string> LocalHosts() {
  std::vector<std::string> hosts{"localhost", "127.0.0.1", "::1"};
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) == 0 && IsDnsName(name) && std::string_view(name) != "localhost")
    hosts.emplace_back(name);
  return hosts;
}

Result<CertificateInfo> DescribeCertificate(const Path& path) {
  ASSIGN_OR_RETURN(const CertificatePtr certificate, ReadCertificate(path));
  CertificateInfo info;
  const BioPtr text(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate.get()), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  info.subject.assign(data, static_cast<size_t>(size));
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &time) != 1)
    return OpenSslError("read a certificate's end");
  char buffer[32];
  std::strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%SZ", &time);
  info.not_after = buffer;
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int hash_size = 0;
  if (X509_digest(certificate.get(), EVP_sha256(), hash, &hash_size) != 1)
    return OpenSslError("hash a certificate");
  for (unsigned int i = 0; i < hash_size; ++i) info.sha256 += fmt::format("{:02x}", hash[i]);
  return info;
}

}  // namespace hadal
