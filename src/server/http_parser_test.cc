#include "server/http_parser.h"

#include <gtest/gtest.h>

#include <random>

namespace hadal {
namespace {

/// Feeds all of `text` in pieces of `piece` bytes; the status of the refusal, 0 if none.
int FeedAll(RequestParser& parser, std::string_view text, size_t piece, size_t* left = nullptr) {
  while (!text.empty() && parser.state() != RequestParser::State::kDone) {
    const auto used = parser.Feed(text.substr(0, piece));
    if (!used) return used.error().status;
    EXPECT_LE(*used, std::min(piece, text.size()));
    text.remove_prefix(*used);
  }
  if (left) *left = text.size();
  return 0;
}

constexpr const char* kHost = "Host: a.example\r\n";

std::string Chunked(const std::string& body) {
  return std::string("POST /p HTTP/1.1\r\n") + kHost + "Transfer-Encoding: chunked\r\n\r\n" + body;
}

TEST(RequestParser, ReadsRequestsHoweverTheyAreCut) {
  const std::string text = std::string("POST /v1/x?a=b&c HTTP/1.1\r\n") + kHost +
                           "X-Two:  value with spaces \t\r\nContent-Length: 5\r\n\r\nhelloNEXT";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    RequestParser parser({});
    size_t left = 0;
    ASSERT_EQ(FeedAll(parser, text, piece, &left), 0) << piece;
    ASSERT_EQ(parser.state(), RequestParser::State::kDone) << piece;
    EXPECT_EQ(left, 4u) << piece;
    EXPECT_EQ(parser.request().method, "POST");
    EXPECT_EQ(parser.request().target, "/v1/x");
    EXPECT_EQ(parser.request().query, "a=b&c");
    EXPECT_EQ(parser.request().body, "hello");
    EXPECT_EQ(*parser.request().Header("x-two"), "value with spaces");
    EXPECT_EQ(parser.host(), "a.example");
    EXPECT_TRUE(parser.keep_alive());
  }
}

TEST(RequestParser, ReadsChunkedBodiesHoweverTheyAreCut) {
  const std::string text = Chunked("5\r\nhello\r\n1;ext=1\r\n,\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET");
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    RequestParser parser({});
    size_t left = 0;
    ASSERT_EQ(FeedAll(parser, text, piece, &left), 0) << piece;
    ASSERT_EQ(parser.state(), RequestParser::State::kDone) << piece;
    EXPECT_EQ(left, 3u) << piece;
    EXPECT_EQ(parser.request().body, "hello, world");
    EXPECT_EQ(parser.request().Header("trailer"), nullptr);
  }
}

TEST(RequestParser, StopsAtTheEndOfTheHeader) {
  RequestParser parser({});
  const std::string text = std::string("POST / HTTP/1.1\r\n") + kHost + "Content-Length: 2\r\n\r\nab";
  const auto used = parser.Feed(text);
  ASSERT_TRUE(used);
  EXPECT_EQ(*used, text.size() - 2);
  EXPECT_EQ(parser.state(), RequestParser::State::kBody);
}

TEST(RequestParser, RefusesWithTheExactStatus) {
  const std::string get = "GET / HTTP/1.1\r\n", post = "POST / HTTP/1.1\r\n", host = kHost;
  const struct {
    const char* what;
    std::string text;
    int status;
  } kCases[] = {
      {"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
      {"bare LF in a header", get + "Host: a\nX: y\r\n\r\n", 400},
      {"bare CR", get + host + "X: a\rb\r\n\r\n", 400},
      {"folded line", get + host + "X: a\r\n b\r\n\r\n", 400},
      {"folded first header", get + " X: a\r\n" + host + "\r\n", 400},
      {"NUL in a value", get + host + std::string("X: a\0b\r\n\r\n", 10), 400},
      {"NUL in the target", std::string("GET /\0 HTTP/1.1\r\n", 17) + host + "\r\n", 400},
      {"control in a value", get + host + "X: a\x01z\r\n\r\n", 400},
      {"space before the colon", get + host + "X : a\r\n\r\n", 400},
      {"empty name", get + host + ": a\r\n\r\n", 400},
      {"no colon", get + host + "Xa\r\n\r\n", 400},
      {"underscore", get + host + "X_Y: a\r\n\r\n", 400},
      {"empty request line", "\r\n\r\n", 400},
      {"no host", get + "\r\n", 400},
      {"empty host", get + "Host: \r\n\r\n", 400},
      {"two hosts", get + host + host + "\r\n", 400},
      {"host with a path", get + "Host: a/b\r\n\r\n", 400},
      {"host with a query", get + "Host: a?b\r\n\r\n", 400},
      {"host with a fragment", get + "Host: a#b\r\n\r\n", 400},
      {"host with a user", get + "Host: u@a\r\n\r\n", 400},
      {"host with a bad port", get + "Host: a:99999\r\n\r\n", 400},
      {"absolute target of another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"absolute target with a user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"another scheme", "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"no slash", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"OPTIONS */x", "OPTIONS */x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"fragment in the target", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"non-ASCII target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"control in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"tab in the request line", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"HTTP/0.9", "GET /\r\n\r\n", 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"a TLS hello", std::string("\x16\x03\x01\x00\xa5\x01\x00", 7), 400},
      {"length and chunked", post + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"chunked and length", post + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
      {"two lengths", post + host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
      {"two equal lengths", post + host + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
      {"length list", post + host + "Content-Length: 5, 5\r\n\r\n", 400},
      {"length -1", post + host + "Content-Length: -1\r\n\r\n", 400},
      {"length +1", post + host + "Content-Length: +1\r\n\r\n", 400},
      {"length 0x5", post + host + "Content-Length: 0x5\r\n\r\n", 400},
      {"length 5.0", post + host + "Content-Length: 5.0\r\n\r\n", 400},
      {"empty length", post + host + "Content-Length: \r\n\r\n", 400},
      {"length over 2^64", post + host + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
      {"length over the limit", post + host + "Content-Length: 1000000000\r\n\r\n", 413},
      {"identity", post + host + "Transfer-Encoding: identity\r\n\r\n", 400},
      {"chunked not last", post + host + "Transfer-Encoding: chunked, identity\r\n\r\n", 400},
      {"chunked twice", post + host + "Transfer-Encoding: chunked, chunked\r\n\r\n", 400},
      {"two codings", post + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"gzip, chunked", post + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
      {"xchunked", post + host + "Transfer-Encoding: xchunked\r\n\r\n", 400},
      {"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET with a body", get + host + "Content-Length: 1\r\n\r\nx", 400},
      {"GET with chunks", get + host + "Transfer-Encoding: chunked\r\n\r\n", 400},
      {"another expectation", post + host + "Expect: the-spanish-inquisition\r\n\r\n", 417},
      {"chunk size overflow", Chunked("fffffffffffffffff\r\nx"), 400},
      {"chunk size 2^64-1", Chunked("ffffffffffffffff\r\nx"), 413},
      {"chunk size negative", Chunked("-1\r\nx\r\n0\r\n\r\n"), 400},
      {"chunk size 0x5", Chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400},
      {"chunk with bare LF", Chunked("5\nhello\n0\n\n\r\n"), 400},
      {"chunk longer than said", Chunked("3\r\nhello\r\n0\r\n\r\n"), 400},
      {"chunk extension without end", Chunked("5;" + std::string(100'000, 'x')), 400},
      {"trailer without end", Chunked("0\r\n" + std::string(100'000, 'x')), 400},
  };
  for (const auto& c : kCases) {
    for (const size_t piece : {size_t{1}, size_t{7}, size_t{1} << 20}) {
      RequestParser parser({});
      EXPECT_EQ(FeedAll(parser, c.text, piece), c.status) << c.what << ", pieces of " << piece;
    }
  }
}

TEST(RequestParser, HoldsItsLimits) {
  const std::string get = "GET / HTTP/1.1\r\n", host = kHost;
  const size_t all = size_t{1} << 21;
  {
    RequestParser parser({});
    EXPECT_EQ(FeedAll(parser, get + host + "X: " + std::string(1 << 20, 'a') + "\r\n\r\n", all), 431);
  }
  {
    RequestParser parser({});
    std::string many = get + host;
    for (int i = 0; i < 10'000; ++i) many += "a:b\r\n";
    EXPECT_EQ(FeedAll(parser, many + "\r\n", 1000), 431);
  }
  {
    RequestParser parser({});
    EXPECT_EQ(FeedAll(parser, "GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n" + host + "\r\n", 512),
              414);
  }
  {
    RequestParser parser({.max_headers = 3});
    EXPECT_EQ(FeedAll(parser, get + host + "A: b\r\nC: d\r\n\r\n", all), 0);
    EXPECT_EQ(parser.state(), RequestParser::State::kDone);
  }
  {
    RequestParser parser({.max_body_bytes = 10});
    EXPECT_EQ(FeedAll(parser, Chunked("6\r\nabcdef\r\n5\r\nabcde\r\n0\r\n\r\n"), all), 413);
  }
  {
    RequestParser parser({.max_chunks = 100});
    std::string tiny;
    for (int i = 0; i < 101; ++i) tiny += "1\r\nx\r\n";
    EXPECT_EQ(FeedAll(parser, Chunked(tiny), all), 413);
  }
}

TEST(RequestParser, TakesAbsoluteTargetsAndOldClients) {
  RequestParser absolute({});
  EXPECT_EQ(FeedAll(absolute, "GET HTTPS://A.Example:8443?q HTTP/1.1\r\nHost: a.example:8443\r\n\r\n", 64),
            0);
  EXPECT_EQ(absolute.request().target, "/");
  EXPECT_EQ(absolute.request().query, "q");
  EXPECT_EQ(absolute.host(), "a.example");
  RequestParser old({});
  EXPECT_EQ(FeedAll(old, "GET / HTTP/1.0\r\n\r\n", 64), 0);
  EXPECT_FALSE(old.keep_alive());
  EXPECT_EQ(old.host(), "");
}

TEST(HostName, KnowsHosts) {
  EXPECT_EQ(HostName("LocalHost:8443"), "localhost");
  EXPECT_EQ(HostName("a.example."), "a.example");
  EXPECT_EQ(HostName("[::1]:443"), "[::1]");
  for (const char* bad :
       {"", ":", "a:", "a:b", "[::1", "[]", "[::1]x", "[g]", "a b", "a\\b", ".a", "a:1:2", "a%00"}) {
    EXPECT_EQ(HostName(bad), "") << bad;
  }
}

TEST(RequestParser, SurvivesMutatedRequests) {
  const std::string seeds[] = {Chunked("5\r\nhello\r\n0\r\nT: x\r\n\r\n"),
                               "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                               "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"};
  const std::string alphabet("\r\n\0 \t:;,0fF-_ax\x80\xff/?#*", 22);
  std::mt19937 random(1);
  for (int i = 0; i < 30'000; ++i) {
    std::string text = seeds[i % 3];
    for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % text.size();
      const char c = alphabet[random() % alphabet.size()];
      if (random() % 2) {
        text[at] = c;
      } else {
        text.insert(at, 1, c);
      }
    }
    text += "XXXXXXXX";  // an error in the last bytes may need more of them to show
    // Whatever it is, all ways of cutting it must read the same.
    RequestParser whole({}), cut({});
    const int status = FeedAll(whole, text, text.size());
    ASSERT_EQ(FeedAll(cut, text, 1 + random() % 9), status) << text;
    ASSERT_EQ(cut.state(), whole.state()) << text;
    if (whole.state() == RequestParser::State::kDone)
      ASSERT_EQ(cut.request().body, whole.request().body) << text;
  }
}

}  // namespace
}  // namespace hadal
