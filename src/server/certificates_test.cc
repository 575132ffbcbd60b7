#include "server/certificates.h"

#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>

#include "server/access_test_util.h"

namespace hadal {
namespace {

using namespace testing_access;
using StorePtr = OpenSslPtr<X509_STORE, X509_STORE_free>;
using StoreContextPtr = OpenSslPtr<X509_STORE_CTX, X509_STORE_CTX_free>;

/// X509_V_OK, or why the chain is not good for `purpose` and `host` `days` from now.
int Verify(const Path& ca, const Path& certificate, int purpose, const char* host, int days = 0) {
  const CertificatePtr root = Must(ReadCertificate(ca)), leaf = Must(ReadCertificate(certificate));
  const StorePtr store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), root.get());
  const StoreContextPtr context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_purpose(param, purpose);
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_time(param, time(nullptr) + days * 86400L);
  if (host != nullptr && X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1)
    X509_VERIFY_PARAM_set1_host(param, host, 0);
  X509_verify_cert(context.get());
  return X509_STORE_CTX_get_error(context.get());
}

class CertificatesTest : public testing::Test {
 protected:
  Path State() const { return temp_.path() / "state"; }
  Path File(const char* name) const { return State() / name; }
  static int Mode(const Path& path) {
    struct stat info {};
    stat(path.c_str(), &info);
    return info.st_mode & 07777;
  }
  TempFolder temp_;
};

TEST_F(CertificatesTest, FreshServerIsTrustedThroughItsCa) {
  EXPECT_TRUE(Must(EnsureServerCertificate(State(), {"localhost", "127.0.0.1", "::1", "models.example"})));
  for (const char* host : {"localhost", "127.0.0.1", "::1", "models.example"})
    EXPECT_EQ(Verify(File("ca.crt"), File("server.crt"), X509_PURPOSE_SSL_SERVER, host), X509_V_OK) << host;
  EXPECT_EQ(Verify(File("ca.crt"), File("server.crt"), X509_PURPOSE_SSL_SERVER, "evil.example"),
            X509_V_ERR_HOSTNAME_MISMATCH);
  EXPECT_EQ(Verify(File("ca.crt"), File("server.crt"), X509_PURPOSE_SSL_SERVER, "127.0.0.2"),
            X509_V_ERR_IP_ADDRESS_MISMATCH);
  EXPECT_EQ(Verify(File("ca.crt"), File("server.crt"), X509_PURPOSE_SSL_CLIENT, nullptr),
            X509_V_ERR_INVALID_PURPOSE);
  EXPECT_EQ(Verify(File("ca.crt"), File("server.crt"), X509_PURPOSE_SSL_SERVER, "localhost", 398),
            X509_V_ERR_CERT_HAS_EXPIRED);
  EXPECT_EQ(Mode(State()), 0700);
  EXPECT_EQ(Mode(File("ca.key")), 0600);
  EXPECT_EQ(Mode(File("server.key")), 0600);
  EXPECT_TRUE(IsP256(Must(ReadPrivateKey(File("server.key"))).get()));
  EXPECT_FALSE(Must(EnsureServerCertificate(State(), {"localhost"}))) << "it stays while it is good";
}

TEST_F(CertificatesTest, RenewedWhenItDoesNotServe) {
  EXPECT_TRUE(Must(EnsureServerCertificate(State(), {"localhost"})));
  EXPECT_TRUE(Must(EnsureServerCertificate(State(), {"localhost", "10.0.0.1"}))) << "a new host";
  Must(IssueCertificate(State(), {.name = "localhost", .hosts = {"localhost"}, .days = 20},
                        File("server.crt"), File("server.key")));
  EXPECT_TRUE(Must(EnsureServerCertificate(State(), {"localhost"}))) << "20 days left";
  std::filesystem::remove(File("server.key"));
  EXPECT_TRUE(Must(EnsureServerCertificate(State(), {"localhost"}))) << "a key lost";
  std::filesystem::remove(File("ca.crt"));
  EXPECT_TRUE(Must(EnsureServerCertificate(State(), {"localhost"}))) << "another CA";
  EXPECT_EQ(Verify(File("ca.crt"), File("server.crt"), X509_PURPOSE_SSL_SERVER, "localhost"), X509_V_OK);
}

TEST_F(CertificatesTest, ClientCertificatesAndRefusals) {
  EXPECT_EQ(IssueCertificate(State(), {.name = "x"}, File("x.crt"), File("x.key")).error().code,
            Code::kNotFound);
  Must(InitCa(State(), "our CA"));
  EXPECT_EQ(InitCa(State(), "our CA").error().code, Code::kFailedPrecondition);
  Must(IssueCertificate(State(), {.name = "robot", .server = false, .client = true}, File("r.crt"),
                        File("r.key")));
  EXPECT_EQ(Verify(File("ca.crt"), File("r.crt"), X509_PURPOSE_SSL_CLIENT, nullptr), X509_V_OK);
  EXPECT_EQ(Must(DescribeCertificate(File("r.crt"))).subject, "CN=robot");
  EXPECT_EQ(Must(DescribeCertificate(File("r.crt"))).sha256.size(), 64u);
  for (const char* host : {"", "a,IP:127.0.0.1", "a b", "-a", "a\n", "http://x"})
    EXPECT_FALSE(
        IssueCertificate(State(), {.name = "x", .hosts = {host}}, File("x.crt"), File("x.key")).has_value())
        << host;
  EXPECT_FALSE(
      IssueCertificate(State(), {.name = std::string(65, 'x')}, File("x.crt"), File("x.key")).has_value());
  EXPECT_FALSE(IssueCertificate(State(), {.name = "x", .days = 0}, File("x.crt"), File("x.key")).has_value());
  EXPECT_FALSE(std::filesystem::exists(File("x.crt")));
  // A leaf of a CA that ends sooner ends with it.
  TempFolder other;
  Must(InitCa(other.path(), "short", 10));
  Must(IssueCertificate(other.path(), {.name = "x"}, other.path() / "x.crt", other.path() / "x.key"));
  EXPECT_EQ(Must(DescribeCertificate(other.path() / "x.crt")).not_after,
            Must(DescribeCertificate(other.path() / "ca.crt")).not_after);
  // And a chain of another CA is none of ours.
  EXPECT_NE(Verify(File("ca.crt"), other.path() / "x.crt", X509_PURPOSE_SSL_SERVER, nullptr), X509_V_OK);
}

}  // namespace
}  // namespace hadal
