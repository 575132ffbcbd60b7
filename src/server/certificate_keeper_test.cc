#include "server/certificate_keeper.h"

#include "server/access_test_util.h"
#include "server/certificates.h"
#include "server/http_test_util.h"

namespace hadal {
namespace {

using namespace testing_http;
using testing_access::Must;
using testing_access::TempFolder;

std::unique_ptr<HttpServer> StartServer(const TlsOptions& tls) {
  ServerOptions options;
  options.tls = tls;
  options.unauthenticated = true;
  return Must(HttpServer::Start(
      options, {{"GET", "/", "", [](const HttpRequest&, auto writer) { writer->Send(200, {}, "ok"); }}},
      nullptr));
}

std::string SerialOf(const Client& client) {
  X509* certificate = SSL_get0_peer_certificate(client.ssl());
  char* text = i2s_ASN1_INTEGER(nullptr, X509_get_serialNumber(certificate));
  std::string serial(text);
  OPENSSL_free(text);
  return serial;
}

TEST(CertificateKeeper, RenewsBeforeTheEndAndKeepsConnections) {
  const TempFolder state;
  const std::vector<std::string> hosts{"localhost", "127.0.0.1"};
  constexpr int64_t kLifetime = 3;  // seconds
  EXPECT_TRUE(Must(EnsureServerCertificate(state.path(), hosts, kLifetime)));
  const auto server = StartServer({state.path() / "server.crt", state.path() / "server.key"});
  const auto first_end = server->certificate_not_after();
  CertificateKeeper keeper({.renew = [&] { return EnsureServerCertificate(state.path(), hosts, kLifetime); },
                            .files = {state.path() / "server.crt", state.path() / "server.key"},
                            .reload = [&] { return server->ReloadCertificate(); },
                            .interval = 10ms});
  Client old(server->port(), {.trust = state.path() / "ca.crt"});
  ASSERT_EQ(old.Ask(Get("/")).status, 200);
  ASSERT_TRUE(Eventually([&] { return server->certificate_not_after() > first_end; }, 20s));
  EXPECT_LT(std::chrono::system_clock::now(), first_end) << "it was renewed too late";
  EXPECT_EQ(old.Ask(Get("/")).status, 200);
  Client fresh(server->port(), {.trust = state.path() / "ca.crt"});
  EXPECT_EQ(fresh.Ask(Get("/")).status, 200);
  EXPECT_NE(SerialOf(fresh), SerialOf(old));
}

TEST(CertificateKeeper, TakesNewFilesAndKeepsTheOldWhileTheyDoNotFit) {
  const TestPki pki;
  const auto server = StartServer(pki.Tls());
  std::mutex mutex;
  std::vector<std::string> warnings;
  CertificateKeeper keeper({.files = {pki.File("server.crt"), pki.File("server.key")},
                            .reload = [&] { return server->ReloadCertificate(); },
                            .interval = 5ms,
                            .warn =
                                [&](const std::string& text) {
                                  const std::lock_guard lock(mutex);
                                  warnings.push_back(text);
                                }});
  const auto name = [&] {
    Client client(server->port(), {.trust = pki.File("ca.crt")});
    return client.connected() ? client.PeerCommonName() : "(no connection)";
  };
  const Credential next = pki.Issue({.name = "next"});
  pki.Put("server.crt", next.certificate);
  ASSERT_TRUE(Eventually([&] {
    const std::lock_guard lock(mutex);
    return !warnings.empty();
  }));
  EXPECT_EQ(name(), "localhost");  // the key has not come yet
  pki.Put("server.key", next.key);
  EXPECT_TRUE(Eventually([&] { return name() == "next"; }));
  pki.Install(pki.Issue({.name = "expired", .not_before_s = -100, .not_after_s = -10}));
  EXPECT_FALSE(keeper.Reload());
  EXPECT_EQ(name(), "next");
  std::filesystem::remove(pki.File("server.crt"));
  EXPECT_FALSE(keeper.Reload());
  EXPECT_EQ(name(), "next");
  pki.Install(pki.Issue({.name = "again"}));
  EXPECT_TRUE(Eventually([&] { return name() == "again"; }));
  // However often the keeper looks, a lasting failure is told once.
  const std::lock_guard lock(mutex);
  EXPECT_LE(warnings.size(), 6u);
}

TEST(CertificateKeeper, ACertificateThatEndsWithItsCaIsNotMadeOverAndOver) {
  const TempFolder state;
  Must(InitCa(state.path(), "short", /*days=*/1));
  EXPECT_TRUE(Must(EnsureServerCertificate(state.path(), {"localhost"})));
  EXPECT_FALSE(Must(EnsureServerCertificate(state.path(), {"localhost"})));
}

}  // namespace
}  // namespace hadal
