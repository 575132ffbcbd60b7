#include "server/http_client.h"

#include <cstdlib>

#include "server/http_test_util.h"

namespace hadal {
namespace {

using namespace testing_http;

constexpr const char* kSecret = "s3cr3t-of-the-test";

/// A TLS server of a private CA, with routes that behave well and badly.
class HttpClientTest : public testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(ServerOptions options) {
    options.unauthenticated = true;
    if (!options.plain && options.tls.certificate_file.empty()) options.tls = pki_.Tls();
    auto server = HttpServer::Start(options, Routes(), nullptr);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  std::vector<Route> Routes() {
    const auto route = [](const char* method, const char* path, Handler handler) {
      return Route{method, path, "", std::move(handler)};
    };
    return {route("GET", "/hello",
                  [](const HttpRequest&, auto writer) {
                    writer->Send(200, {{"x-a", "b"}}, "hello");
                  }),
            route("POST", "/echo",
                  [](const HttpRequest& request, auto writer) {
                    const std::string* type = request.Header("content-type");
                    writer->Send(201, {}, request.body + "|" + (type ? *type : "none"));
                  }),
            route("GET", "/away",
                  [](const HttpRequest&, auto writer) {
                    writer->Send(302, {{"location", "/hello"}}, "elsewhere");
                  }),
            route("GET", "/big",
                  [](const HttpRequest&, auto writer) { writer->Send(200, {}, std::string(100'000, 'x')); }),
            route("GET", "/never", [this](const HttpRequest&, auto writer) { Keep(writer); }),
            route("GET", "/stream", [this](const HttpRequest&, auto writer) {
              writer->StartStream(200, {{"content-type", "text/event-stream"}});
              writer->Write("data: 1\n\n");
              Keep(writer);
            })};
  }
  void Keep(std::shared_ptr<ResponseWriter> writer) {
    writer->OnDisconnect([this] { left_ = true; });
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(writer));
  }

  HttpClientRequest To(const std::string& path, const std::string& host = "127.0.0.1") {
    HttpClientRequest request;
    request.url = "https://" + host + ":" + std::to_string(server_->port()) + path;
    request.ca_file = pki_.File("ca.crt");
    return request;
  }
  static void ExpectError(const Result<HttpResponse>& result, Code code, const std::string& part) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, code) << result.error().message;
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
    EXPECT_EQ(result.error().message.find(kSecret), std::string::npos) << result.error().message;
  }

  TestPki pki_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<ResponseWriter>> kept_;
  std::atomic<bool> left_{false};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpClientTest, FetchesOverVerifiedTls) {
  const auto response = HttpFetch(To("/hello"));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "hello");
  ASSERT_NE(response->Header("x-a"), nullptr);
  EXPECT_EQ(*response->Header("x-a"), "b");
}

TEST_F(HttpClientTest, PostsABodyWithTheTypeThatWasGivenAndNoOther) {
  HttpClientRequest request = To("/echo");
  request.method = "POST";
  request.body = std::string("{\0}", 3);
  EXPECT_EQ(HttpFetch(request)->body, std::string("{\0}|none", 8));
  request.headers = {{"Content-Type", "application/json"}};
  const auto response = HttpFetch(request);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 201);
  EXPECT_EQ(response->body, std::string("{\0}|application/json", 20));
}

TEST_F(HttpClientTest, DoesNotTrustACertificateOfAnotherCaOrName) {
  HttpClientRequest request = To("/hello?key=" + std::string(kSecret));
  request.headers = {{"Authorization", std::string("Bearer ") + kSecret}};
  request.ca_file.clear();
  ExpectError(HttpFetch(request), Code::kFailedPrecondition, "is not trusted");
  const TestPki other;
  request.ca_file = other.File("ca.crt");
  ExpectError(HttpFetch(request), Code::kFailedPrecondition, "is not trusted");
  request.ca_file = pki_.File("missing.crt");
  ExpectError(HttpFetch(request), Code::kFailedPrecondition, "missing.crt");

  pki_.Install(pki_.Issue({.name = "elsewhere", .san = "DNS:elsewhere.test"}));
  ASSERT_TRUE(server_->ReloadCertificate());
  ExpectError(HttpFetch(To("/hello")), Code::kFailedPrecondition, "is not trusted");
}

TEST_F(HttpClientTest, PlainHttpIsForLoopbackAndOnlyByPermission) {
  ServerOptions plain;
  plain.plain = true;
  Start(plain);
  HttpClientRequest request = To("/hello");
  request.url.replace(0, 5, "http");
  ExpectError(HttpFetch(request), Code::kInvalidArgument, "plain HTTP");
  request.allow_loopback_http = true;
  const auto response = HttpFetch(request);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, "hello");
  request.url = "http://192.0.2.1:9/hello";  // TEST-NET: nothing is sent there
  ExpectError(HttpFetch(request), Code::kInvalidArgument, "not on this machine");
}

TEST_F(HttpClientTest, RefusesAddressesAndHeadersThatCannotBeMeant) {
  for (const char* url :
       {"", "ftp://127.0.0.1/x", "file:///etc/passwd", "hello", "https://user:s3cr3t-of-the-test@h/"}) {
    HttpClientRequest request = To("/hello");
    request.url = url;
    ExpectError(HttpFetch(request), Code::kInvalidArgument, "");
  }
  for (const auto& [name, value] :
       HttpHeaders{{"a b", "c"}, {"a", "b\r\nc: d"}, {"", "x"}, {"a", std::string("\0", 1)}}) {
    HttpClientRequest request = To("/hello");
    request.headers = {{name, value}};
    ExpectError(HttpFetch(request), Code::kInvalidArgument, "header");
  }
}

TEST_F(HttpClientTest, DoesNotFollowRedirects) {
  const auto response = HttpFetch(To("/away"));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 302);
  EXPECT_EQ(response->body, "elsewhere");
}

TEST_F(HttpClientTest, TakesNoMoreThanTheLimit) {
  HttpClientRequest request = To("/big");
  request.max_response_bytes = 100'000;
  EXPECT_EQ(HttpFetch(request)->body.size(), 100'000u);
  request.max_response_bytes = 99'999;
  ExpectError(HttpFetch(request), Code::kResourceExhausted, "larger than the 99999 bytes");
}

TEST_F(HttpClientTest, GivesUpOnAServerThatIsSilentOrAbsent) {
  HttpClientRequest request = To(std::string("/never?") + kSecret);
  request.total_timeout = 100ms;
  ExpectError(HttpFetch(request), Code::kUnavailable, "does not answer");
  EXPECT_TRUE(Eventually([&] { return left_.load(); }));
  request.total_timeout = 0ms;
  request.stall_timeout = 1s;
  ExpectError(HttpFetch(request), Code::kUnavailable, "does not answer");
  server_->Stop(0ms);
  ExpectError(HttpFetch(request), Code::kUnavailable, "does not answer");
}

TEST_F(HttpClientTest, StreamsPieceByPieceUntilItIsToldToStop) {
  HttpClientRequest request = To("/stream");
  request.total_timeout = 0ms;
  int status = 0;
  std::string seen;
  request.on_headers = [&](const HttpResponse& head) {
    status = head.status;
    return *head.Header("content-type") == "text/event-stream";
  };
  request.on_body = [&](std::string_view piece) {
    seen += piece;
    return false;
  };
  ExpectError(HttpFetch(request), Code::kCancelled, "was ended");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(seen, "data: 1\n\n");
  EXPECT_TRUE(Eventually([&] { return left_.load(); }));

  request.on_headers = [](const HttpResponse&) { return false; };
  ExpectError(HttpFetch(request), Code::kCancelled, "was ended");
}

TEST_F(HttpClientTest, CanBeCancelledWhileItWaits) {
  HttpClientRequest request = To("/never");
  request.total_timeout = 0ms;
  request.cancelled = [this] {
    const std::lock_guard lock(mutex_);
    return !kept_.empty();
  };
  ExpectError(HttpFetch(request), Code::kCancelled, "was ended");
  EXPECT_TRUE(Eventually([&] { return left_.load(); }));
}

TEST_F(HttpClientTest, AProxyOfTheEnvironmentIsUsedOnlyWhenAskedFor) {
  ::setenv("https_proxy", "http://127.0.0.1:1", 1);
  HttpClientRequest request = To("/hello");
  const auto direct = HttpFetch(request);
  request.environment_proxy = true;
  const auto proxied = HttpFetch(request);
  ::unsetenv("https_proxy");
  EXPECT_TRUE(direct) << direct.error().message;
  ExpectError(proxied, Code::kUnavailable, "does not answer");
}

TEST_F(HttpClientTest, ShowsAClientCertificate) {
  ServerOptions options;
  options.tls = pki_.Tls();
  options.tls.client_certificates = ClientCertificates::kRequired;
  options.tls.client_ca_file = pki_.File("ca.crt");
  Start(options);
  EXPECT_FALSE(HttpFetch(To("/hello")));
  const Credential credential = pki_.Issue({.name = "caller"});
  pki_.Put("client.crt", credential.certificate);
  pki_.Put("client.key", credential.key);
  HttpClientRequest request = To("/hello");
  request.client_certificate_file = pki_.File("client.crt");
  ExpectError(HttpFetch(request), Code::kInvalidArgument, "key's file");
  request.client_key_file = pki_.File("client.key");
  const auto response = HttpFetch(request);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, "hello");
}

}  // namespace
}  // namespace hadal
