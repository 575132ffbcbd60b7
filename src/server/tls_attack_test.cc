// Attacks on TLS: handshakes, versions, certificates, names. A good request passes afterwards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/http_attack_test_util.h"

namespace hadal {
namespace {

using namespace testing_http;
using ::testing::HasSubstr;
using ::testing::Not;

class TlsAttack : public HttpAttack {
 protected:
  TlsAttack() { options_.plain = false; }
};

TEST_F(TlsAttack, OldVersionsAreRefusedUnlessAllowedByName) {
  Start();
  EXPECT_FALSE(Client(port(), {.max_version = TLS1_2_VERSION}).connected());
  EXPECT_TRUE(StillGood());
  server_ = nullptr;
  options_.tls.min_version = "1.2";
  Start();
  Client client(port(), {.max_version = TLS1_2_VERSION});
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.Ask(Get("/good")).status, 200);
  EXPECT_FALSE(Client(port(), {.max_version = TLS1_1_VERSION}).connected());
  server_ = nullptr;
  options_.tls.min_version = "1.0";
  EXPECT_FALSE(HttpServer::Start(options_, Routes(), nullptr));
}

TEST_F(TlsAttack, StalledHandshakesTimeOut) {
  options_.handshake_timeout = 150ms;
  Start();
  Client silent(port(), {.plain = true}), cut(port(), {.plain = true});
  cut.Send(
      std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));  // a ClientHello's beginning
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(silent.WaitClosed());
  EXPECT_TRUE(cut.WaitClosed());
  EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
  EXPECT_EQ(server_->stats().timeouts, 2u);
  EXPECT_TRUE(StillGood());
}

TEST_F(TlsAttack, GarbageAndPlainHttpAreClosed) {
  options_.handshake_timeout = 200ms;
  Start();
  for (const std::string& bytes :
       {Get("/good"), std::string(1000, '\xff'), std::string("\x16\x03\x01\x00\x01\x00", 6)}) {
    Client client(port(), {.plain = true});
    client.Send(bytes);
    EXPECT_TRUE(client.WaitClosed());
    EXPECT_THAT(client.buffer(), Not(HasSubstr("HTTP/1.1 200")));
  }
  EXPECT_TRUE(StillGood());
}

TEST_F(TlsAttack, NothingToReplay) {
  Start();
  Client client(port());
  EXPECT_EQ(client.Ask(Get("/good")).status, 200);
  // No ticket has come, so there is neither resumption nor 0-RTT to be replayed.
  EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get0_session(client.ssl())), 0);
  EXPECT_EQ(SSL_SESSION_get_max_early_data(SSL_get0_session(client.ssl())), 0u);
  // A client that tries all the same gets no request of its early data answered.
  Client raw(port(), {.plain = true});
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL* ssl = SSL_new(context);
  SSL_set_session(ssl, SSL_get0_session(client.ssl()));
  SSL_set_fd(ssl, raw.fd());
  ERR_clear_error();
  const std::string request = Post("/post", "replayed");
  size_t written = 0;
  SSL_write_early_data(ssl, request.data(), request.size(), &written);
  ERR_clear_error();
  EXPECT_TRUE(SSL_connect(ssl) != 1 || SSL_get_early_data_status(ssl) != SSL_EARLY_DATA_ACCEPTED);
  SSL_free(ssl);
  SSL_CTX_free(context);
  EXPECT_TRUE(StillGood());
  EXPECT_EQ(handled_, 0);
}

TEST_F(TlsAttack, ServerNameMustMatchHost) {
  options_.allowed_hosts = {"a.example", "b.example"};
  Start();
  Client client(port(), {.server_name = "a.example"});
  ASSERT_TRUE(client.connected());  // one certificate for all names: SNI selects nothing
  EXPECT_EQ(client.Ask("GET /good HTTP/1.1\r\nHost: a.example\r\n\r\n").status, 200);
  EXPECT_EQ(client.Ask("GET /good HTTP/1.1\r\nHost: b.example\r\n\r\n").status, 421);
  EXPECT_EQ(client.Ask("GET /good HTTP/1.1\r\nHost: a.example\r\n\r\n").status, 200);
}

TEST_F(TlsAttack, ReloadUnderLoad) {
  Start();
  std::atomic<bool> stop{false};
  std::atomic<int> bad{0}, good{0};
  std::vector<std::thread> load;
  for (int i = 0; i < 2; ++i) {
    load.emplace_back([&] {
      while (!stop) {
        Client client(port());
        ++(client.connected() && client.Ask(Get("/good")).status == 200 ? good : bad);
      }
    });
  }
  Client before(port());
  EXPECT_EQ(before.PeerCommonName(), "localhost");
  for (int i = 0; i < 20; ++i) {
    pki_.Install(pki_.Issue({.name = "server " + std::to_string(i)}));
    const auto reloaded = server_->ReloadCertificate();
    ASSERT_TRUE(reloaded) << reloaded.error().message;
    EXPECT_EQ(Client(port()).PeerCommonName(), "server " + std::to_string(i));
  }
  stop = true;
  for (auto& thread : load) thread.join();
  EXPECT_EQ(bad, 0);
  EXPECT_GT(good, 0);
  EXPECT_EQ(before.Ask(Get("/good")).status, 200);  // open connections go on
}

TEST_F(TlsAttack, InvalidReloadKeepsTheOldCertificate) {
  Start();
  const auto refused = [&](Code code) {
    const auto status = server_->ReloadCertificate();
    const bool kept = Client(port()).PeerCommonName() == "localhost";
    return !status && status.error().code == code && kept && StillGood();
  };
  const Credential expired = pki_.Issue({.not_before_s = -7200, .not_after_s = -3600});
  const Credential future = pki_.Issue({.not_before_s = 3600, .not_after_s = 7200});
  const Credential one = pki_.Issue({}), other = pki_.Issue({});
  pki_.Install(expired);
  EXPECT_TRUE(refused(Code::kFailedPrecondition));
  pki_.Install(future);
  EXPECT_TRUE(refused(Code::kFailedPrecondition));
  pki_.Install({one.certificate, other.key});
  EXPECT_TRUE(refused(Code::kDataLoss) || refused(Code::kFailedPrecondition));
  pki_.Install({"garbage", other.key});
  EXPECT_TRUE(refused(Code::kDataLoss));
  pki_.Install({one.certificate, ""});
  EXPECT_TRUE(refused(Code::kDataLoss));
  std::filesystem::remove(pki_.File("server.key"));
  EXPECT_TRUE(refused(Code::kNotFound));
  pki_.Install(one);
  EXPECT_TRUE(server_->ReloadCertificate());
  EXPECT_GT(server_->certificate_not_after(), std::chrono::system_clock::now());
}

TEST_F(TlsAttack, ClientCertificates) {
  options_.tls = pki_.Tls();
  options_.tls.client_certificates = ClientCertificates::kRequired;
  EXPECT_FALSE(HttpServer::Start(options_, Routes(), nullptr));  // no CA named
  options_.tls.client_ca_file = pki_.File("ca.crt");
  std::string subject;
  auto routes = Routes();
  routes.push_back({"GET", "/who", "", [](const HttpRequest& request, auto writer) {
                      writer->Send(200, kText, request.client_certificate_subject);
                    }});
  auto server = HttpServer::Start(options_, routes, nullptr);
  ASSERT_TRUE(server) << server.error().message;
  server_ = std::move(*server);
  // In TLS 1.3 the client's handshake ends before the server has judged its certificate: the first read
  // fails.
  const auto status = [&](const Credential* certificate) {
    Client client(port(), {.certificate = certificate});
    return client.Ask(Get("/who")).status;
  };
  const Credential good = pki_.Issue({.name = "worker 1", .san = ""});
  const Credential expired = pki_.Issue({.name = "old", .not_before_s = -7200, .not_after_s = -3600});
  const Credential stranger = MakeCertificate({.name = "worker 1"});
  EXPECT_EQ(Client(port(), {.certificate = &good}).Ask(Get("/who")).body, "CN=worker 1");
  EXPECT_EQ(status(nullptr), 0);
  EXPECT_EQ(status(&expired), 0);
  EXPECT_EQ(status(&stranger), 0);
  EXPECT_EQ(status(&good), 200);
  EXPECT_EQ(server_->stats().handshake_failures, 3u);
  server_ = nullptr;
  options_.tls.client_certificates = ClientCertificates::kOptional;
  server = HttpServer::Start(options_, routes, nullptr);
  ASSERT_TRUE(server);
  server_ = std::move(*server);
  EXPECT_EQ(status(nullptr), 200);
  EXPECT_EQ(Client(port()).Ask(Get("/who")).body, "");
  EXPECT_EQ(status(&stranger), 0);  // one that is sent must be valid
  EXPECT_EQ(status(&good), 200);
}

TEST_F(TlsAttack, OtherProtocolsAreNotNegotiated) {
  Start();
  const auto connect = [&](std::string_view protocols) {
    Client raw(port(), {.plain = true});
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    SSL* ssl = SSL_new(context);
    SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(protocols.data()),
                        static_cast<unsigned>(protocols.size()));
    SSL_set_fd(ssl, raw.fd());
    ERR_clear_error();
    const bool connected = SSL_connect(ssl) == 1;
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &chosen, &size);
    std::string name(reinterpret_cast<const char*>(chosen), size);
    SSL_free(ssl);
    SSL_CTX_free(context);
    const int reason = connected ? 0 : ERR_GET_REASON(ERR_peek_error());
    return connected ? name : reason == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL ? "alert" : "refused";
  };
  EXPECT_EQ(connect(std::string_view("\x02h2\x08http/1.1", 12)), "http/1.1");
  EXPECT_EQ(connect(std::string_view("\x08http/1.1", 9)), "http/1.1");
  EXPECT_EQ(connect(std::string_view("\x02h2", 3)), "alert") << "RFC 7301: no_application_protocol";
  EXPECT_TRUE(StillGood());
}

}  // namespace
}  // namespace hadal
