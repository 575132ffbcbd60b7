// Bytes of one HTTP/1.x request into an HttpRequest, refusing everything that two parsers could read
// differently.
//
// Knows no sockets: bytes in, a request or a refusal out, so it can be fuzzed. Boost.Beast's parser reads the
// grammar (RFC 9112); in front of and behind it stand the rules that Beast leaves open: no bare LF or CR, no
// folded lines, no NUL, one Content-Length of digits only, Transfer-Encoding exactly "chunked", no '_' in
// header names, one Host that is a host, targets of visible ASCII, no body on GET or HEAD, limits on
// everything counted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "server/http_types.h"

namespace hadal {

struct ParserLimits {
  size_t max_header_bytes = 32 << 10;  // request line and all header lines
  size_t max_headers = 100;
  size_t max_target_bytes = 4 << 10;
  size_t max_body_bytes = 8 << 20;
  size_t max_chunks = 16384;  // a body in tiny chunks costs more to read than it carries
};

/// Why a request is refused: the status, and a sentence for the client that quotes nothing it sent.
struct HttpRefusal {
  int status;
  std::string message;
};

/// What it is fed is overwritten before its memory is given back: headers and bodies hold passwords and tokens.
class RequestParser {
 public:
  enum class State { kHeader, kBody, kDone };

  explicit RequestParser(const ParserLimits& limits);
  ~RequestParser();

  /// Takes bytes from the front of `data`; returns how many. It stops at the end of the header, so that the
  /// caller can decide on the body first, and at the end of the request; otherwise it takes them all. After a
  /// refusal the connection's framing is lost: answer and close.
  tl::expected<size_t, HttpRefusal> Feed(std::string_view data);

  State state() const { return state_; }
  HttpRequest& request() { return request_; }

  // Valid once the header is read.
  bool http_1_0() const { return http_1_0_; }
  bool keep_alive() const;  // what the client asked for
  bool expects_continue() const { return expects_continue_; }
  bool has_body() const { return chunked_ || content_length_ > 0; }
  bool chunked() const { return chunked_; }
  uint64_t content_length() const { return content_length_; }
  /// Lowers the body limit, between header and body; a longer chunked body is then refused with 413.
  void LimitBody(size_t max_bytes);
  /// The Host (or the authority of an absolute target, which must agree), lower case; empty only in HTTP/1.0.
  const std::string& host() const { return host_; }

 private:
  class Grammar;  // Boost.Beast's parser behind our interface

  tl::expected<size_t, HttpRefusal> FeedHeader(std::string_view data);
  tl::expected<size_t, HttpRefusal> FeedBody(std::string_view data);
  tl::expected<void, HttpRefusal> ScanLines(size_t from, bool* complete);
  tl::expected<void, HttpRefusal> CheckFraming();
  tl::expected<void, HttpRefusal> CheckHost();
  tl::expected<void, HttpRefusal> CheckTarget();

  const ParserLimits limits_;
  size_t most_body_;  // bytes that the body may have, as far as is known
  State state_ = State::kHeader;
  std::unique_ptr<Grammar> grammar_;
  std::string carry_;      // the header so far; then bytes of a chunked body that end inside its framing
  size_t line_start_ = 0;  // of the header line being scanned
  size_t lines_ = 0;
  HttpRequest request_;
  std::string host_, authority_;
  uint64_t content_length_ = 0;
  bool http_1_0_ = false, chunked_ = false, expects_continue_ = false;
};

/// The name of `authority` ("name", "name:port", "[v6]:port") without the port, lower case, without a final
/// dot; empty if it is not a plain host (user names, paths, blanks and anything else that is not a host are
/// refused).
std::string HostName(std::string_view authority);

}  // namespace hadal
