#include "server/http_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <charconv>

#include "server/secrets.h"

namespace hadal {
namespace {

namespace http = boost::beast::http;
using boost::beast::string_view;

// A chunk's size line or the trailer is never longer than this; no honest client comes near.
constexpr size_t kMaxChunkFraming = 4096;
// A stated length is trusted only this far for reserving memory; the rest grows as bytes arrive.
constexpr size_t kMaxReserve = 64 << 10;

tl::unexpected<HttpRefusal> Refuse(int status, std::string message) {
  return tl::unexpected<HttpRefusal>(HttpRefusal{status, std::move(message)});
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  }
  return lower;
}

HttpRefusal RefusalOf(http::error error) {
  switch (error) {
    case http::error::bad_method: return {400, "The request line has no valid method."};
    case http::error::bad_target:
      return {400, "The request target holds a character that is not visible ASCII."};
    case http::error::bad_version: return {505, "Only HTTP/1.1 and HTTP/1.0 are spoken here."};
    case http::error::bad_content_length:
    case http::error::multiple_content_length:
      return {400, "Content-Length must be one non-negative whole number, without Transfer-Encoding."};
    case http::error::bad_transfer_encoding:
      return {400, "Transfer-Encoding must be there once, as \"chunked\", and without Content-Length."};
    case http::error::body_limit: return {413, "The request body is larger than this server takes."};
    case http::error::header_limit:
    case http::error::buffer_overflow: return {431, "The request header is larger than this server takes."};
    case http::error::bad_chunk:
    case http::error::bad_chunk_extension: return {400, "The chunked body is malformed."};
    default: return {400, "The request is not well-formed HTTP."};
  }
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

/// Beast's events into the fields of the RequestParser that owns it. Header first; the body when told
/// (eager).
class RequestParser::Grammar final : public http::basic_parser<true> {
 public:
  Grammar(RequestParser& owner, const ParserLimits& limits) : owner_(owner) {
    header_limit(static_cast<uint32_t>(std::min<size_t>(limits.max_header_bytes + 1, UINT32_MAX)));
    body_limit(limits.max_body_bytes);
  }
  /// Set by a callback that refused, for the caller to report instead of Beast's code.
  HttpRefusal refusal{0, ""};

 private:
  using error_code = boost::beast::error_code;

  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       error_code&) override {
    owner_.request_.method = method;
    owner_.request_.target = target;
    owner_.http_1_0_ = version == 10;
  }
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(http::field, string_view name, string_view value, error_code& error) override {
    if (is_header_done()) return;  // trailers carry nothing we use
    if (name.find('_') != string_view::npos) {
      // Gateways that map '-' to '_' would take it for another header.
      refusal = {400, "A header name holds '_', which is not accepted."};
      error = http::error::bad_field;
      return;
    }
    owner_.request_.headers.emplace_back(Lower(std::string_view(name.data(), name.size())),
                                         std::string(value));
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>& length, error_code&) override {
    if (!length) return;
    owner_.most_body_ = static_cast<size_t>(std::min<uint64_t>(*length, owner_.most_body_));
    owner_.request_.body.reserve(std::min(owner_.most_body_, kMaxReserve));
  }
  size_t on_body_impl(string_view body, error_code&) override {
    AppendWiping(owner_.request_.body, std::string_view(body.data(), body.size()), owner_.most_body_);
    return body.size();
  }
  void on_chunk_header_impl(uint64_t, string_view, error_code& error) override {
    if (++chunks_ <= owner_.limits_.max_chunks) return;
    refusal = {413, "The request body comes in too many chunks."};
    error = http::error::bad_chunk;
  }
  size_t on_chunk_body_impl(uint64_t, string_view body, error_code&) override {
    AppendWiping(owner_.request_.body, std::string_view(body.data(), body.size()), owner_.most_body_);
    return body.size();
  }
  void on_finish_impl(error_code&) override {}

  RequestParser& owner_;
  size_t chunks_ = 0;
};

RequestParser::RequestParser(const ParserLimits& limits)
    : limits_(limits), most_body_(limits.max_body_bytes), grammar_(std::make_unique<Grammar>(*this, limits_)) {}
RequestParser::~RequestParser() { Wipe(carry_); }

tl::expected<size_t, HttpRefusal> RequestParser::Feed(std::string_view data) {
  if (state_ == State::kHeader) return FeedHeader(data);
  if (state_ == State::kBody) return FeedBody(data);
  return size_t{0};
}

/// Looks at the header bytes from `from` on, before any grammar does: line ends are CRLF and nothing else, no
/// NUL, no folding, and no more lines than allowed. `complete`: the empty line that ends the header has been
/// seen, and carry_ is cut behind it.
tl::expected<void, HttpRefusal> RequestParser::ScanLines(size_t from, bool* complete) {
  for (size_t i = from; i < carry_.size(); ++i) {
    const char c = carry_[i];
    if (c == '\0') return Refuse(400, "The request header holds a NUL.");
    if (i > 0 && carry_[i - 1] == '\r' && c != '\n') return Refuse(400, "A carriage return stands alone.");
    if (i == line_start_ && lines_ > 0 && (c == ' ' || c == '\t')) {
      return Refuse(400, "A header line is folded, which is not accepted.");
    }
    if (c != '\n') continue;
    if (i == 0 || carry_[i - 1] != '\r') return Refuse(400, "A line ends without a carriage return.");
    if (i - line_start_ == 1) {
      if (lines_ == 0) return Refuse(400, "The request line is empty.");
      *complete = true;
      carry_.resize(i + 1);
      return {};
    }
    line_start_ = i + 1;
    if (++lines_ > limits_.max_headers + 1) return Refuse(431, "The request has too many headers.");
  }
  if (lines_ == 0 && carry_.size() > limits_.max_target_bytes + 64) {
    return Refuse(414, "The request target is longer than this server takes.");
  }
  return {};
}

tl::expected<size_t, HttpRefusal> RequestParser::FeedHeader(std::string_view data) {
  const size_t before = carry_.size();
  const size_t room = limits_.max_header_bytes - before;
  AppendWiping(carry_, data.substr(0, room), limits_.max_header_bytes);
  bool complete = false;
  if (auto scanned = ScanLines(before, &complete); !scanned) return tl::unexpected(scanned.error());
  if (!complete) {
    if (data.size() > room) return Refuse(431, "The request header is larger than this server takes.");
    return data.size();
  }
  const size_t taken = carry_.size() - before;

  boost::beast::error_code error;
  grammar_->put(boost::asio::buffer(carry_), error);
  if (error || !grammar_->is_header_done()) {
    if (grammar_->refusal.status != 0) return tl::unexpected(grammar_->refusal);
    return tl::unexpected(RefusalOf(static_cast<http::error>(error.value())));
  }
  Wipe(carry_);
  carry_.shrink_to_fit();
  grammar_->eager(true);
  chunked_ = grammar_->chunked();
  if (grammar_->content_length()) content_length_ = *grammar_->content_length();
  if (auto checked = CheckTarget(); !checked) return tl::unexpected(checked.error());
  if (auto checked = CheckFraming(); !checked) return tl::unexpected(checked.error());
  if (auto checked = CheckHost(); !checked) return tl::unexpected(checked.error());
  state_ = grammar_->is_done() ? State::kDone : State::kBody;
  return taken;
}

tl::expected<size_t, HttpRefusal> RequestParser::FeedBody(std::string_view data) {
  const size_t before = carry_.size();
  std::string_view bytes = data;
  if (chunked_) {
    AppendWiping(carry_, data, SIZE_MAX);
    bytes = carry_;
    // A chunked body has at least "0\r\n\r\n" to come until it is done, and Beast relies on that much.
    if (bytes.size() < 5) return data.size();
  }
  if (bytes.empty()) return size_t{0};
  boost::beast::error_code error;
  const size_t used = grammar_->put(boost::asio::buffer(bytes.data(), bytes.size()), error);
  if (error && error != http::error::need_more) {
    if (grammar_->refusal.status != 0) return tl::unexpected(grammar_->refusal);
    return tl::unexpected(RefusalOf(static_cast<http::error>(error.value())));
  }
  if (grammar_->is_done()) {
    state_ = State::kDone;
    carry_.clear();
    return used - before;
  }
  if (chunked_) {
    carry_.erase(0, used);
    if (carry_.size() > kMaxChunkFraming) return Refuse(400, "The chunked body is malformed.");
  }
  return data.size();
}

/// Where the body ends must be beyond doubt: RFC 9112 section 6.3, and stricter.
tl::expected<void, HttpRefusal> RequestParser::CheckFraming() {
  const std::string* encoding = request_.Header("transfer-encoding");
  const std::string* length = request_.Header("content-length");
  if (length && (request_.CountHeader("content-length") > 1 || !AllDigits(*length) || encoding)) {
    return tl::unexpected(RefusalOf(http::error::bad_content_length));
  }
  if (encoding) {
    const std::string value = Lower(*encoding);
    if (http_1_0_) return Refuse(400, "HTTP/1.0 has no Transfer-Encoding.");
    if (request_.CountHeader("transfer-encoding") > 1) {
      return tl::unexpected(RefusalOf(http::error::bad_transfer_encoding));
    }
    if (value != "chunked") {
      // Without "chunked" at the end the body has no end (400); before it stands a coding we do not know
      // (501).
      if (!grammar_->chunked()) return tl::unexpected(RefusalOf(http::error::bad_transfer_encoding));
      return Refuse(501, "The only Transfer-Encoding taken is \"chunked\".");
    }
  }
  if (has_body() && (request_.method == "GET" || request_.method == "HEAD")) {
    return Refuse(400, "A GET or HEAD request must not have a body.");
  }
  if (const std::string* expect = request_.Header("expect")) {
    if (Lower(*expect) != "100-continue") return Refuse(417, "The only expectation met is \"100-continue\".");
    expects_continue_ = !http_1_0_ && has_body();
  }
  return {};
}

tl::expected<void, HttpRefusal> RequestParser::CheckHost() {
  const std::string* host = request_.Header("host");
  if (!host) {
    if (!http_1_0_) return Refuse(400, "The Host header is missing.");
    if (authority_.empty()) return {};
    host_ = HostName(authority_);
    return {};
  }
  if (request_.CountHeader("host") > 1) return Refuse(400, "The Host header is there more than once.");
  host_ = HostName(*host);
  if (host_.empty()) return Refuse(400, "The Host header is not a host name or address.");
  if (!authority_.empty() && Lower(authority_) != Lower(*host)) {
    return Refuse(400, "The request target and the Host header name different hosts.");
  }
  return {};
}

/// Brings the target into origin form and splits off the query. CONNECT's target is an authority and stays.
tl::expected<void, HttpRefusal> RequestParser::CheckTarget() {
  std::string& target = request_.target;
  if (target.size() > limits_.max_target_bytes) {
    return Refuse(414, "The request target is longer than this server takes.");
  }
  const bool visible = std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!visible) return tl::unexpected(RefusalOf(http::error::bad_target));
  if (target.find('#') != std::string::npos) return Refuse(400, "The request target holds a fragment.");
  if (request_.method == "CONNECT") return {};
  if (target == "*") {
    if (request_.method != "OPTIONS") return Refuse(400, "Only OPTIONS may ask for \"*\".");
    return {};
  }
  if (target[0] != '/') {
    const std::string lower = Lower(target);
    const size_t scheme = lower.starts_with("https://") ? 8 : lower.starts_with("http://") ? 7 : 0;
    if (scheme == 0) return Refuse(400, "The request target is neither a path nor a URL of this server.");
    const size_t path = std::min(target.find_first_of("/?", scheme), target.size());
    authority_ = target.substr(scheme, path - scheme);
    if (HostName(authority_).empty()) return Refuse(400, "The request target names no valid host.");
    target.erase(0, path);
    if (target.empty() || target[0] == '?') target.insert(0, "/");
  }
  if (const size_t mark = target.find('?'); mark != std::string::npos) {
    request_.query = target.substr(mark + 1);
    target.resize(mark);
  }
  return {};
}

void RequestParser::LimitBody(size_t max_bytes) {
  grammar_->body_limit(max_bytes);
  most_body_ = std::min(most_body_, max_bytes);
}

bool RequestParser::keep_alive() const { return grammar_->keep_alive(); }

std::string HostName(std::string_view authority) {
  std::string_view name = authority, port;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos || close < 3) return "";
    name = authority.substr(0, close + 1);
    if (authority.size() > close + 1) {
      if (authority[close + 1] != ':') return "";
      port = authority.substr(close + 2);
      if (port.empty()) return "";
    }
    const std::string_view inside = name.substr(1, close - 1);
    if (inside.find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) return "";
  } else if (const size_t colon = authority.find(':'); colon != std::string_view::npos) {
    name = authority.substr(0, colon);
    port = authority.substr(colon + 1);
    if (port.empty()) return "";
  }
  if (!port.empty()) {
    int number = 0;
    if (port.size() > 5 || !AllDigits(port)) return "";
    std::from_chars(port.data(), port.data() + port.size(), number);
    if (number > 65535) return "";
  }
  std::string host = Lower(name);
  if (host.starts_with('[')) return host;
  if (host.size() > 1 && host.back() == '.') host.pop_back();
  if (host.size() > 253 || host.starts_with('.')) return "";
  const bool plain = std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
  return plain ? host : "";
}

}  // namespace hadal
