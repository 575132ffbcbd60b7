// Attacks on a running server: each gets its exact answer, and a good request passes afterwards. What
// concerns only the bytes of a request is replayed in http_parser_test.cc too, cut at every place; TLS in
// tls_attack_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "server/http_attack_test_util.h"

namespace hadal {
namespace {

using namespace testing_http;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(HttpAttack, MalformedRequests) {
  Start();
  const std::string get = "GET /good HTTP/1.1\r\n", post = "POST /post HTTP/1.1\r\n", host = kHost;
  const struct {
    const char* what;
    std::string bytes;
    int status;
  } kCases[] = {
      {"bare LF", "GET /good HTTP/1.1\nHost: localhost\n\n", 400},
      {"obs-fold", get + host + "X: a\r\n\tb\r\n\r\n", 400},
      {"CL and TE", post + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
       400},
      {"two CL", post + host + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400},
      {"CL -1", post + host + "Content-Length: -1\r\n\r\n", 400},
      {"CL non-integer", post + host + "Content-Length: 4e0\r\n\r\n", 400},
      {"TE identity", post + host + "Transfer-Encoding: identity\r\n\r\nabc", 400},
      {"TE list", post + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"TE in 1.0", "POST /post HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"chunk-size overflow",
       post + host + "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n", 400},
      {"missing host", get + "\r\n", 400},
      {"duplicate host", get + host + "Host: evil\r\n\r\n", 400},
      {"host with /", get + "Host: localhost/x\r\n\r\n", 400},
      {"host with ?", get + "Host: localhost?x\r\n\r\n", 400},
      {"host with #", get + "Host: localhost#x\r\n\r\n", 400},
      {"absolute-form mismatch", "GET http://evil/good HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"OPTIONS */x", "OPTIONS */x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"NUL", get + host + std::string("X: a\0\r\n\r\n", 9), 400},
      {"1 MB header", get + host + "X: " + std::string(1 << 20, 'x') + "\r\n\r\n", 431},
      {"header with _", get + host + "Content_Length: 5\r\n\r\n", 400},
      {"gzip body", post + host + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", 415},
      {"large body", post + host + "Content-Length: 100000000\r\n\r\n", 413},
      {"body over the route's limit", "POST /small HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nabcde",
       413},
      {"chunks over the route's limit",
       "POST /small HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", 413},
      {"GET with body", get + host + "Content-Length: 3\r\n\r\nabc", 400},
      {"CONNECT", "CONNECT evil:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
      {"TRACE", "TRACE /good HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
      {"unknown method", "SMUGGLE /good HTTP/1.1\r\nHost: localhost\r\n\r\n", 501},
      {"control in target", "GET /go\x01od HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"non-ASCII target", "GET /g\xc3\xb6od HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"path climbing", "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
      {"HTTP/2 without being offered", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
  };
  for (const auto& c : kCases) {
    const Reply reply = Attack(c.bytes);
    EXPECT_EQ(reply.status, c.status) << c.what;
    EXPECT_THAT(reply.body, HasSubstr("\"error\"")) << c.what;
    EXPECT_THAT(reply.body, Not(ContainsRegex("/[a-z]+/|PRIVATE|\\.cc"))) << c.what;  // no path, no key
    EXPECT_THAT(reply.body, Not(HasSubstr("evil"))) << c.what;  // nothing is quoted
    EXPECT_TRUE(StillGood()) << c.what;
  }
  EXPECT_EQ(handled_, 0);
}

TEST_F(HttpAttack, TenThousandHeaders) {
  Start();
  std::string bytes = std::string("GET /good HTTP/1.1\r\n") + kHost;
  for (int i = 0; i < 10'000; ++i) bytes += "a:b\r\n";
  EXPECT_EQ(Attack(bytes + "\r\n").status, 431);
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, HalfAMillionTinyChunks) {
  Start();
  std::string bytes = std::string("POST /post HTTP/1.1\r\n") + kHost + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 500'000; ++i) bytes += "1\r\nx\r\n";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Attack(bytes + "0\r\n\r\n").status, 413);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
  EXPECT_EQ(handled_, 0);
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, SlowHeader) {
  options_.header_timeout = 150ms;
  Start();
  Client client(port(), Usual());
  const auto start = std::chrono::steady_clock::now();
  for (const char c : std::string("GET /good HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) {
    if (std::chrono::steady_clock::now() - start > 160ms || !client.Send(std::string(1, c))) break;
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(client.ReadReply().status, 408);
  EXPECT_TRUE(client.WaitClosed());
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, SlowBody) {
  options_.body_timeout = 200ms;
  Start();
  Client client(port(), Usual());
  client.Send(std::string("POST /post HTTP/1.1\r\n") + kHost + "Content-Length: 1000\r\n\r\n");
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < 210ms && client.Send("x"))
    std::this_thread::sleep_for(10ms);
  EXPECT_EQ(client.ReadReply().status, 408);
  EXPECT_TRUE(client.WaitClosed());
  EXPECT_EQ(handled_, 0);
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, SilentConnections) {
  options_.idle_timeout = options_.header_timeout = 150ms;
  Start();
  Client never(port(), Usual());
  Client once(port(), Usual());
  EXPECT_EQ(once.Ask(Get("/good")).status, 200);
  EXPECT_TRUE(never.WaitClosed());
  EXPECT_TRUE(once.WaitClosed());
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, TruncatedRequests) {
  Start();
  for (const char* bytes :
       {"GET /good HT", "POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc",
        "POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
    Client client(port(), Usual());
    client.Send(bytes);
    client.HalfClose();
    EXPECT_EQ(client.ReadReply().status, 400);
    EXPECT_TRUE(client.WaitClosed());
  }
  EXPECT_EQ(handled_, 0);
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, SlowReaderOfAStreamIsCutOffAndStallsNobody) {
  options_.max_stream_buffer_bytes = 64 << 10;
  options_.send_buffer_bytes = 16 << 10;
  Start();
  ClientOptions slow = Usual();
  slow.receive_buffer = 4096;
  Client client(port(), slow);
  client.Send(Get("/hold"));
  const auto writer = TakeHeld();
  std::atomic<bool> gone{false};
  writer->OnDisconnect([&] { gone = true; });
  writer->StartStream(200, kText);
  const std::string event(1000, 'x');
  int written = 0;
  while (written < 10'000 && writer->Write(event)) ++written;
  EXPECT_LT(written, 1000);  // not much beyond the limits
  EXPECT_TRUE(Eventually([&] { return gone.load(); }));
  EXPECT_EQ(server_->stats().slow_readers, 1u);
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, AllStreamsTogetherHaveALimitThatReadersWhoKeepUpDoNotFeel) {
  options_.max_total_stream_bytes = 48 << 10;
  options_.send_buffer_bytes = 16 << 10;
  Start();
  ClientOptions slow = Usual();
  slow.receive_buffer = 4096;
  const std::string event(1000, 'x');
  for (int i = 0; i < 2; ++i) {  // what the first held is free for the second
    Client client(port(), slow);
    client.Send(Get("/hold"));
    const auto writer = TakeHeld();
    writer->StartStream(200, kText);
    int written = 0;
    while (written < 10'000 && writer->Write(event)) ++written;
    EXPECT_LT(written, 300);
    EXPECT_GT(written, 40);
    EXPECT_TRUE(Eventually([&] { return server_->stats().slow_readers == static_cast<uint64_t>(i + 1); }));
  }
  Client stuck(port(), slow), good(port(), Usual());
  stuck.Send(Get("/hold"));
  const auto stuck_writer = TakeHeld();
  stuck_writer->StartStream(200, kText);
  for (int i = 0; i < 45; ++i) stuck_writer->Write(event);
  good.Send(Get("/hold"));
  const auto good_writer = TakeHeld();
  good_writer->StartStream(200, kText);
  for (int i = 0; i < 12; ++i) EXPECT_TRUE(good_writer->Write(event)) << i;
}

TEST_F(HttpAttack, WholeResponsesAreNotCutOffAndCutOffNoStream) {
  options_.max_total_stream_bytes = 48 << 10;
  options_.send_buffer_bytes = 16 << 10;
  Start();
  ClientOptions slow = Usual();
  slow.receive_buffer = 4096;
  Client whole(port(), slow), streamed(port(), slow);
  whole.Send(Get("/hold"));
  const std::string large(4 << 20, 'x');
  TakeHeld()->Send(200, kText, large);
  EXPECT_GT(server_->responses()->used(), 3u << 20) << "it waits, larger than all streams may";
  streamed.Send(Get("/hold"));
  const auto writer = TakeHeld();
  writer->StartStream(200, kText);
  const std::string event(1000, 'x');
  // Beyond the kernel's buffers and what a stream may always have.
  for (int i = 0; i < 45; ++i) EXPECT_TRUE(writer->Write(event)) << i;
  writer->EndStream();
  EXPECT_EQ(streamed.ReadReply().body.size(), 45'000u);
  EXPECT_EQ(whole.ReadReply().body, large);
  EXPECT_TRUE(Eventually([&] { return server_->responses()->used() == 0; }));
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, SlowReaderOfAResponseRunsOutOfTime) {
  options_.write_timeout = 200ms;
  options_.send_buffer_bytes = 16 << 10;
  Start();
  ClientOptions slow = Usual();
  slow.receive_buffer = 4096;
  Client client(port(), slow);
  client.Send(Get("/hold"));
  TakeHeld()->Send(200, kText, std::string(4 << 20, 'x'));
  // Trickling does not help: all that was queued must have left within the limit.
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(Eventually([&] {
    char c;
    ::recv(client.fd(), &c, 1, MSG_DONTWAIT);
    return server_->stats().timeouts == 1;
  }));
  EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections == 0; }));
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, EndlessPipelineIsNotBuffered) {
  Start();
  Client client(port(), {.plain = true, .timeout = 300ms});
  client.Send(Get("/hold"));
  const auto writer = TakeHeld();
  const std::string more = Get("/good");
  size_t sent = 0;
  while (sent < (64u << 20) && client.Send(more)) sent += more.size();
  EXPECT_LT(sent, 32u << 20);  // the kernel's buffers and 64 KiB of ours, then it blocks
  EXPECT_TRUE(StillGood());
  writer->Send(200, kText, "go");
  EXPECT_EQ(client.ReadReply().body, "go");
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(client.ReadReply().body, "ok") << i;
}

TEST_F(HttpAttack, HostOfAnotherSite) {
  Start();
  const auto ask = [&](const std::string& host) {
    return Attack("GET /good HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  EXPECT_EQ(ask("rebound.example"), 421);
  EXPECT_EQ(ask("localhost.evil.example"), 421);
  EXPECT_EQ(ask("10.0.0.1"), 421);
  EXPECT_EQ(ask("LOCALHOST:1234"), 200);
  EXPECT_EQ(ask("127.0.0.1:80"), 200);
  EXPECT_EQ(ask("[::1]:80"), 200);
  server_ = nullptr;
  options_.allowed_hosts = {"llm.corp.example"};
  Start();
  EXPECT_EQ(ask("llm.corp.example"), 200);
  EXPECT_EQ(ask("llm.corp.example.:443"), 200);
  EXPECT_EQ(ask("rebound.example"), 421);
  EXPECT_EQ(ask("127.0.0.1"), 200);
  server_ = nullptr;
  // A listener on all addresses takes any name unless names are given; the address come in on always passes.
  options_.plain = false;
  options_.listen = "0.0.0.0:0";
  Start();
  EXPECT_EQ(ask("rebound.example"), 421);
  EXPECT_EQ(ask("127.0.0.1"), 200);
  server_ = nullptr;
  options_.allowed_hosts.clear();
  Start();
  EXPECT_EQ(ask("any.example"), 200);
}

TEST_F(HttpAttack, TooManyConnections) {
  options_.max_connections = 3;
  Start();
  {
    Client a(port(), Usual()), b(port(), Usual()), c(port(), Usual());
    for (Client* client : {&a, &b, &c}) EXPECT_EQ(client->Ask(Get("/good")).status, 200);
    Client d(port(), Usual());
    EXPECT_TRUE(d.WaitClosed());
    EXPECT_EQ(server_->stats().refused_connections, 1u);
    EXPECT_EQ(a.Ask(Get("/good")).status, 200);
  }
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections == 0; }));
  EXPECT_TRUE(StillGood());
  server_ = nullptr;
  options_.max_connections = 100;
  options_.max_connections_per_peer = 1;
  Start();
  {
    Client a(port(), Usual());
    EXPECT_EQ(a.Ask(Get("/good")).status, 200);
    EXPECT_TRUE(Client(port(), Usual()).WaitClosed());
  }
  EXPECT_TRUE(Eventually([&] { return server_->stats().connections == 0; }));
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, TooManyRequestsInFlight) {
  options_.max_requests_in_flight = 2;
  Start();
  Client a(port(), Usual()), b(port(), Usual()), c(port(), Usual());
  a.Send(Post("/hold", ""));
  const auto first = TakeHeld();
  b.Send(Post("/hold", ""));
  const auto second = TakeHeld();
  const Reply full = c.Ask(Post("/post", ""));
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.Header("retry-after"), "1");
  EXPECT_EQ(c.Ask(Get("/good")).status, 200);  // probes are answered
  first->Send(200, kText, "");
  EXPECT_EQ(a.ReadReply().status, 200);
  b.Close();  // a disconnect frees its place too
  EXPECT_TRUE(Eventually([&] { return server_->stats().requests_in_flight == 0; }));
  EXPECT_EQ(c.Ask(Post("/post", "")).status, 200);
}

TEST_F(HttpAttack, ManyLargeBodiesAtOnceAreBounded) {
  options_.max_total_body_bytes = 1000;
  Start();
  Client a(port(), Usual()), b(port(), Usual());
  a.Send(std::string("POST /post HTTP/1.1\r\n") + kHost + "Content-Length: 800\r\n\r\n");
  EXPECT_TRUE(Eventually([&] { return server_->stats().requests_in_flight == 1; }));
  EXPECT_EQ(b.Ask(Post("/post", std::string(300, 'x'))).status, 503);
  a.Send(std::string(800, 'x'));
  EXPECT_EQ(a.ReadReply().body, "800");
  EXPECT_EQ(b.Ask(Post("/post", std::string(300, 'x'))).status, 200);
}

TEST_F(HttpAttack, BodiesThatAreOnlyAnnouncedHoldLittle) {
  options_.max_total_body_bytes = options_.parser.max_body_bytes = 1 << 20;
  Start();
  std::deque<Client> idle;
  for (int i = 0; i < 4; ++i) {
    const char* framing = i % 2 == 0 ? "Content-Length: 800000\r\n\r\n" : "Transfer-Encoding: chunked\r\n\r\n";
    idle.emplace_back(port(), Usual());
    idle.back().Send(std::string("POST /post HTTP/1.1\r\n") + kHost + framing);
  }
  EXPECT_TRUE(Eventually([&] { return server_->stats().requests_in_flight == 4; }));
  EXPECT_EQ(Attack(Post("/post", std::string(700'000, 'x'))).body, "700000");
  // What has come counts: a body that finds its first room and no more is refused on its way.
  EXPECT_EQ(Attack(Post("/keep", std::string(700'000, 'x'))).body, "kept");
  const Reply refused = Attack(Post("/post", std::string(400'000, 'x')));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.Header("retry-after"), "1");
  EXPECT_EQ(Attack(Post("/post", std::string(60'000, 'x'))).body, "60000") << "its room is free again";
  {
    std::lock_guard lock(mutex_);
    kept_.clear();
  }
  idle.front().Send(std::string(800'000, 'x'));
  EXPECT_EQ(idle.front().ReadReply().body, "800000");
  idle.clear();
  EXPECT_TRUE(StillGood());
}

TEST_F(HttpAttack, BodiesThatHandlersKeepCountUntilTheyAreGone) {
  options_.max_total_body_bytes = 1000;
  Start();
  Client a(port(), Usual()), b(port(), Usual());
  EXPECT_EQ(a.Ask(Post("/keep", std::string(800, 'x'))).body, "kept");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(b.Ask(Post("/post", std::string(300, 'x'))).status, 503);
  EXPECT_EQ(b.Ask(Post("/post", std::string(100, 'x'))).status, 200) << "what fits goes on";
  {
    std::lock_guard lock(mutex_);
    kept_.clear();
  }
  EXPECT_EQ(b.Ask(Post("/post", std::string(300, 'x'))).status, 200);
  // A chunked body takes 64 KiB, or what it may be, then what it is.
  const std::string chunked = std::string("POST /keep HTTP/1.1\r\n") + kHost +
                              "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
  EXPECT_EQ(a.Ask(chunked).status, 503) << "it takes the first room of a body";
  server_ = nullptr;
  options_.parser.max_body_bytes = 900;
  Start();
  EXPECT_EQ(Client(port(), Usual()).Ask(chunked).body, "kept");
  EXPECT_EQ(Client(port(), Usual()).Ask(Post("/post", std::string(900, 'x'))).status, 200);
  server_ = nullptr;  // what is kept outlives the server
  std::lock_guard lock(mutex_);
  EXPECT_EQ(kept_.at(0).body, "abcde");
}

TEST_F(HttpAttack, OutOfDescriptors) {
  Start();
  Client open(port(), Usual());
  EXPECT_EQ(open.Ask(Get("/good")).status, 200);
  Client waiting(port(), Usual());
  EXPECT_EQ(waiting.Ask(Get("/good")).status, 200);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  // A client's socket is made first; then no descriptor is left to accept it with.
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  rlimit none = before;
  none.rlim_cur = 3;
  setrlimit(RLIMIT_NOFILE, &none);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_TRUE(Eventually([&] { return server_->stats().accept_failures >= 2; }));
  EXPECT_LT(server_->stats().accept_failures, 20u);  // it pauses, it does not spin
  EXPECT_EQ(open.Ask(Get("/good")).status, 200);
  setrlimit(RLIMIT_NOFILE, &before);
  const std::string request = Get("/good");
  EXPECT_GT(::send(fd, request.data(), request.size(), MSG_NOSIGNAL), 0);
  char answer[512];
  EXPECT_GT(::recv(fd, answer, sizeof answer, 0), 12);
  EXPECT_EQ(std::string(answer, 12), "HTTP/1.1 200");
  ::close(fd);
  EXPECT_TRUE(StillGood());
}

}  // namespace
}  // namespace hadal
