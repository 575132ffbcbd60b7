#include "server/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

#include "server/http_test_util.h"

namespace hadal {
namespace {

using namespace testing_http;
using ::testing::HasSubstr;

const HttpHeaders kText = {{"content-type", "text/plain"}};

/// Bearer "good" may do anything but "admin".
class FakeAuthorizer final : public Authorizer {
 public:
  tl::expected<Identity, Denial> Check(const HttpRequest& request, std::string_view scope) override {
    ++checks;
    const std::string* token = request.Header("authorization");
    if (!token || *token != "Bearer good") {
      return tl::unexpected(
          Denial{401, "Bearer error=\"invalid_token\"", "invalid_token", "No valid token."});
    }
    if (scope == "admin")
      return tl::unexpected(
          Denial{403, "Bearer error=\"insufficient_scope\"", "insufficient_scope", "Not yours."});
    return Identity{"alice", "cli", {"infer"}};
  }
  std::atomic<int> checks{0};
};

/// Writers that handlers have left for the test to use.
class Shelf {
 public:
  void Put(std::shared_ptr<ResponseWriter> writer) {
    std::lock_guard lock(mutex_);
    writers_.push_back(std::move(writer));
    changed_.notify_all();
  }
  std::shared_ptr<ResponseWriter> Take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, 5s, [&] { return !writers_.empty(); })) return nullptr;
    auto writer = std::move(writers_.front());
    writers_.pop_front();
    return writer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<ResponseWriter>> writers_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  std::vector<Route> Routes() {
    return {
        {"GET", "/livez", "", [](const HttpRequest&, auto writer) { writer->Send(200, kText, "ok"); }},
        {"POST", "/echo", "infer",
         [](const HttpRequest& request, auto writer) {
           writer->Send(200, kText, (request.identity ? request.identity->subject : "") + ":" + request.body);
         }},
        {"POST", "/admin", "admin",
         [](const HttpRequest&, auto writer) { writer->Send(200, kText, "root"); }},
        {"POST", "/small", "infer", [](const HttpRequest&, auto writer) { writer->Send(200, kText, "s"); },
         4},
        {"GET", "/who", "",
         [](const HttpRequest& request, auto writer) {
           writer->Send(200, kText,
                        request.peer + "|" + request.client_certificate_subject + "|" + request.query);
         }},
        {"GET", "/shelf", "", [this](const HttpRequest&, auto writer) { shelf_.Put(std::move(writer)); }},
        {"POST", "/shelf", "", [this](const HttpRequest&, auto writer) { shelf_.Put(std::move(writer)); }},
        {"GET", "/drop", "", [](const HttpRequest&, auto) {}},
        {"GET", "/throw", "", [](const HttpRequest&, auto) { throw std::runtime_error("/secret/path"); }},
        {"GET", "/split", "",
         [](const HttpRequest&, auto w) {
           w->Send(200, {{"x", "a\r\nset-cookie: b"}}, "");
         }},
    };
  }
  void Start() {
    if (!options_.plain && options_.tls.certificate_file.empty()) options_.tls = pki_.Tls();
    auto server = HttpServer::Start(options_, Routes(), &authorizer_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  int port() { return server_->port(); }
  ::testing::AssertionResult StillGood() {
    Client client(port(), {.plain = options_.plain});
    const Reply reply = client.Ask(Get("/livez"));
    if (reply.status == 200 && reply.body == "ok") return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "a good request got " << reply.status;
  }

  TestPki pki_;
  FakeAuthorizer authorizer_;
  Shelf shelf_;
  ServerOptions options_;
  std::unique_ptr<HttpServer> server_;  // last: its threads use the others
};

TEST_F(HttpServerTest, AnswersOverTls13) {
  Start();
  EXPECT_EQ(server_->address(), "127.0.0.1:" + std::to_string(port()));
  Client client(port(), {.server_name = "localhost", .trust = pki_.File("ca.crt")});
  ASSERT_TRUE(client.connected());
  EXPECT_STREQ(SSL_get_version(client.ssl()), "TLSv1.3");
  const Reply reply = client.Ask(Get("/livez"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "ok");
  EXPECT_EQ(reply.Header("content-type"), "text/plain");
  EXPECT_EQ(reply.Header("x-request-id").size(), 32u);
  EXPECT_THAT(reply.Header("date"), HasSubstr("GMT"));
  EXPECT_EQ(client.Ask(Get("/who?a=b")).body, "127.0.0.1||a=b");  // the connection goes on
}

TEST_F(HttpServerTest, RequestIdIsTheClientsIfWellFormed) {
  Start();
  Client client(port());
  client.Send("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: trace-7.a_b\r\n\r\n");
  EXPECT_EQ(client.ReadReply().Header("x-request-id"), "trace-7.a_b");
  client.Send("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a b\"}\r\n\r\n");
  EXPECT_EQ(client.ReadReply().Header("x-request-id").size(), 32u);
}

TEST_F(HttpServerTest, RoutesByMethodAndPath) {
  Start();
  Client client(port());
  EXPECT_EQ(client.Ask(Get("/nothing")).status, 404);
  EXPECT_EQ(client.Ask(Get("/livez/")).status, 404);
  EXPECT_EQ(client.Ask(Get("//livez")).status, 404);
  EXPECT_EQ(client.Ask(Get("/%6civez")).status, 404);
  const Reply wrong = client.Ask("DELETE /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.Header("allow"), "GET, HEAD");
  EXPECT_THAT(wrong.body, HasSubstr("\"type\":\"invalid_request_error\""));
  EXPECT_EQ(client.Ask("BREW /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 501);
  client.Send("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const Reply head = client.ReadReply(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.Header("content-length"), "2");
  const Reply star = client.Ask("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(star.status, 204);
  EXPECT_EQ(star.Header("allow"), "GET, HEAD, OPTIONS, POST");
  EXPECT_EQ(client.Ask(Get("/livez")).status, 200);
}

TEST_F(HttpServerTest, DeniesByDefaultBeforeTheBodyIsRead) {
  Start();
  {
    Client client(port());
    const Reply none = client.Ask(Post("/echo", "body"));
    EXPECT_EQ(none.status, 401);
    EXPECT_EQ(none.Header("www-authenticate"), "Bearer error=\"invalid_token\"");
    EXPECT_THAT(none.body, HasSubstr("\"code\":\"invalid_token\""));
    EXPECT_EQ(client.Ask(Post("/admin", "", "Authorization: Bearer good\r\n")).status, 403);
    EXPECT_EQ(client.Ask(Post("/echo", "body", "Authorization: Bearer good\r\n")).body, "alice:body");
  }
  {
    // A large body is not waited for.
    Client client(port());
    client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nxxx");
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.status, 401);
    EXPECT_EQ(reply.Header("connection"), "close");
    EXPECT_TRUE(client.WaitClosed());
  }
  for (const Route& route : Routes()) {  // every route, without a token
    if (route.scope == kPublicScope) continue;
    Client client(port());
    EXPECT_EQ(client.Ask(route.method + " " + route.path + " HTTP/1.1\r\nHost: localhost\r\n\r\n").status,
              401);
  }
}

TEST_F(HttpServerTest, NoAuthorizerNoScopedRoutes) {
  options_.tls = pki_.Tls();
  const auto refused = HttpServer::Start(options_, Routes(), nullptr);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  options_.unauthenticated = true;
  EXPECT_TRUE(HttpServer::Start(options_, Routes(), nullptr));
}

TEST_F(HttpServerTest, RefusesOptionsThatMakeNoSense) {
  const auto fails = [&](Code code) {
    const auto server = HttpServer::Start(options_, Routes(), &authorizer_);
    return !server && server.error().code == code;
  };
  options_.plain = true;
  options_.listen = "0.0.0.0:0";
  EXPECT_TRUE(fails(Code::kInvalidArgument));
  options_.listen = "127.0.0.1";
  EXPECT_TRUE(fails(Code::kInvalidArgument));
  options_.listen = "example.com:80";
  EXPECT_TRUE(fails(Code::kInvalidArgument));
  options_.listen = "127.0.0.1:0";
  Start();
  options_.listen = server_->address();
  EXPECT_TRUE(fails(Code::kUnavailable));  // in use
  auto twice = Routes();
  twice.push_back(twice[0]);
  options_.listen = "127.0.0.1:0";
  EXPECT_FALSE(HttpServer::Start(options_, twice, &authorizer_));
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  Start();
  Client client(port());
  std::string all = Get("/shelf");
  for (int i = 0; i < 200; ++i) {
    all += Post("/echo", std::to_string(i), "Authorization: Bearer good\r\n");
  }
  client.Send(all);
  const auto first = shelf_.Take();
  ASSERT_TRUE(first);
  std::thread([first] { first->Send(200, kText, "late"); }).join();
  EXPECT_EQ(client.ReadReply().body, "late");
  for (int i = 0; i < 200; ++i) ASSERT_EQ(client.ReadReply().body, "alice:" + std::to_string(i));
}

TEST_F(HttpServerTest, OldClientsGetAnswersUntilClose) {
  options_.plain = true;
  Start();
  Client once(port(), {.plain = true});
  const Reply reply = once.Ask("GET /livez HTTP/1.0\r\n\r\n");
  EXPECT_EQ(reply.body, "ok");
  EXPECT_EQ(reply.Header("connection"), "close");
  EXPECT_TRUE(once.WaitClosed());
  Client kept(port(), {.plain = true});
  kept.Send("GET /shelf HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto writer = shelf_.Take();
  writer->StartStream(200, kText);
  writer->Write("a");
  writer->Write("b");
  writer->EndStream();
  const Reply stream = kept.ReadReply();
  EXPECT_EQ(stream.body, "ab");  // no chunks
  EXPECT_TRUE(stream.complete);
  Client closed(port(), {.plain = true});
  EXPECT_EQ(closed.Ask("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").status, 200);
  EXPECT_TRUE(closed.WaitClosed());
}

TEST_F(HttpServerTest, StreamsFromAnyThread) {
  Start();
  Client client(port());
  client.Send(Get("/shelf"));
  auto writer = shelf_.Take();
  std::thread([&] {
    writer->StartStream(200, {{"content-type", "text/event-stream"}});
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(writer->Write("data: " + std::to_string(i) + "\n\n"));
    writer->EndStream();
    EXPECT_FALSE(writer->Write("late"));
  }).join();
  const Reply reply = client.ReadReply();
  EXPECT_TRUE(reply.complete);
  EXPECT_THAT(reply.body, HasSubstr("data: 999\n\n"));
  EXPECT_EQ(client.Ask(Get("/livez")).body, "ok");
}

TEST_F(HttpServerTest, LargeResponsesArriveWhole) {
  Start();
  Client client(port());
  client.Send(Get("/shelf"));
  std::string large(20 << 20, 'x');
  for (size_t i = 0; i < large.size(); i += 1000) large[i] = static_cast<char>('a' + i / 1000 % 26);
  shelf_.Take()->Send(200, kText, large);
  EXPECT_TRUE(client.ReadReply().body == large);
}

TEST_F(HttpServerTest, WritersThatGiveUpDoNotHangTheClient) {
  Start();
  Client client(port());
  EXPECT_EQ(client.Ask(Get("/drop")).status, 500);
  const Reply thrown = client.Ask(Get("/throw"));
  EXPECT_EQ(thrown.status, 500);
  EXPECT_THAT(thrown.body, ::testing::Not(HasSubstr("secret")));
  EXPECT_EQ(client.Ask(Get("/split")).status, 500);
  client.Send(Get("/shelf"));
  auto writer = shelf_.Take();
  writer->StartStream(200, kText);
  writer->Write("half");
  writer = nullptr;
  const Reply cut = client.ReadReply();
  EXPECT_EQ(cut.status, 200);
  EXPECT_EQ(cut.body, "half");
  EXPECT_FALSE(cut.complete);  // the client sees that something is missing
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpServerTest, NoticesDisconnectsAtOnce) {
  for (const bool plain : {false, true}) {
    options_.plain = plain;
    Start();
    for (const bool streaming : {false, true}) {
      Client client(port(), {.plain = plain});
      client.Send(Post("/shelf", "x"));
      auto writer = shelf_.Take();
      std::atomic<int> gone{0};
      writer->OnDisconnect([&] { ++gone; });
      if (streaming) {
        writer->StartStream(200, kText);
        writer->Write("first");
        ASSERT_TRUE(client.ReadUntil("first"));
      }
      EXPECT_EQ(gone, 0);
      const auto start = std::chrono::steady_clock::now();
      client.Close();
      ASSERT_TRUE(Eventually([&] { return gone == 1; }));
      // It takes a millisecond on an idle machine; the bound is for one that is not.
      EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
      EXPECT_FALSE(writer->Write("more"));
      std::atomic<bool> late{false};
      writer->OnDisconnect([&] { late = true; });
      EXPECT_TRUE(late);
      writer = nullptr;
      EXPECT_EQ(gone, 1);
    }
    EXPECT_TRUE(StillGood());
  }
}

TEST_F(HttpServerTest, NoDisconnectAfterTheEnd) {
  Start();
  Client client(port());
  client.Send(Get("/shelf"));
  auto writer = shelf_.Take();
  std::atomic<int> gone{0};
  writer->OnDisconnect([&] { ++gone; });
  writer->Send(200, kText, "done");
  EXPECT_EQ(client.ReadReply().body, "done");
  client.Close();
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections == 0; }));
  EXPECT_EQ(gone, 0);
}

TEST_F(HttpServerTest, SendsContinueOnlyToThoseWhoMay) {
  Start();
  Client client(port());
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer good\r\nExpect: 100-continue\r\n"
      "Content-Length: 3\r\n\r\n");
  EXPECT_EQ(client.ReadReply().status, 100);
  client.Send("abc");
  EXPECT_EQ(client.ReadReply().body, "alice:abc");
  client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(client.ReadReply().status, 401);
  EXPECT_TRUE(client.WaitClosed());
}

TEST_F(HttpServerTest, ObserverSeesEveryResponse) {
  std::mutex mutex;
  std::vector<std::string> log;
  options_.observer = [&](const AccessRecord& r) {
    std::lock_guard lock(mutex);
    log.push_back(fmt::format("{} {} {} {} {}", r.method, r.route, r.status, r.completed,
                              r.identity ? r.identity->subject : "-"));
  };
  Start();
  {
    Client client(port());
    client.Ask(Get("/livez"));
    client.Ask(Get("/unknown"));
    client.Ask(Post("/echo", "", "Authorization: Bearer good\r\n"));
    client.Send(Get("/shelf"));
    shelf_.Take()->OnDisconnect([] {});  // kept by nobody: 500
    client.ReadReply();
  }
  {
    Client client(port());
    client.Send(Get("/shelf"));
    const auto writer = shelf_.Take();
    client.Close();
    EXPECT_TRUE(Eventually([&] {
      std::lock_guard lock(mutex);
      return log.size() == 5;
    }));
  }
  std::lock_guard lock(mutex);
  EXPECT_THAT(log,
              ::testing::ElementsAre("GET /livez 200 true -", "GET  404 true -", "POST /echo 200 true alice",
                                     "GET /shelf 500 true -", "GET /shelf 499 false -"));
}

TEST_F(HttpServerTest, StopLetsRunningResponsesEnd) {
  Start();
  Client idle(port()), running(port()), hanging(port());
  idle.Ask(Get("/livez"));
  running.Send(Get("/shelf"));
  const auto writer = shelf_.Take();
  std::thread stopper([&] { server_->Stop(5s); });
  EXPECT_TRUE(idle.WaitClosed());
  EXPECT_FALSE(Client(port()).connected());
  writer->Send(200, kText, "finished");
  const Reply reply = running.ReadReply();
  EXPECT_EQ(reply.body, "finished");
  EXPECT_EQ(reply.Header("connection"), "close");
  running.Close();
  stopper.join();
  EXPECT_EQ(server_->stats().connections, 0u);
}

TEST_F(HttpServerTest, StopCutsWhatDoesNotEnd) {
  Start();
  Client client(port());
  client.Send(Get("/shelf"));
  const auto writer = shelf_.Take();
  std::atomic<bool> gone{false};
  writer->OnDisconnect([&] { gone = true; });
  server_->Stop(20ms);
  EXPECT_TRUE(gone);
  EXPECT_FALSE(writer->Write("x"));
  writer->Send(200, kText, "nobody");
  server_ = nullptr;
}

TEST_F(HttpServerTest, ManyClientsAtOnce) {
  Start();
  std::atomic<int> good{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 10; ++i) {
        Client client(port());
        for (int k = 0; k < 10; ++k) {
          const std::string body(static_cast<size_t>(c * 1000 + k), 'x');
          good += client.Ask(Post("/echo", body, "Authorization: Bearer good\r\n")).body == "alice:" + body;
        }
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(good, 800);
  EXPECT_TRUE(Eventually([&] { return server_->stats().requests_in_flight == 0; }));
}

}  // namespace
}  // namespace hadal
