#include "server/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <openssl/x509.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>

#include "server/secrets.h"

namespace hadal {
namespace {

constexpr size_t kMaxHeadBytes = 128 << 10;
constexpr size_t kMaxUrlBytes = 8192;
constexpr int kPollMilliseconds = 100;

template <auto kFree>
struct CurlDeleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using EasyPtr = std::unique_ptr<CURL, CurlDeleter<curl_easy_cleanup>>;
using MultiPtr = std::unique_ptr<CURLM, CurlDeleter<curl_multi_cleanup>>;
using UrlPtr = std::unique_ptr<CURLU, CurlDeleter<curl_url_cleanup>>;

/// Keeps a write to a closed connection from ending the process: CURLOPT_NOSIGNAL leaves that to us.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigpipeGuard() {
    const timespec now{};
    if (!was_pending_) sigtimedwait(&pipe_, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t pipe_{}, before_{};
  bool was_pending_ = false;
};

/// Header lines for libcurl, wiped before they are freed.
class HeaderList {
 public:
  HeaderList() = default;
  ~HeaderList() {
    for (curl_slist* line = lines_; line != nullptr; line = line->next)
      WipeMemory(line->data, std::char_traits<char>::length(line->data));
    curl_slist_free_all(lines_);
  }
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;

  bool Add(std::string line) {
    curl_slist* longer = curl_slist_append(lines_, line.c_str());
    Wipe(line);
    if (longer != nullptr) lines_ = longer;
    return longer != nullptr;
  }
  curl_slist* lines() const { return lines_; }

 private:
  curl_slist* lines_ = nullptr;
};

/// What the callbacks of one request share.
struct Exchange {
  const HttpClientRequest& request;
  std::string where;  // for sentences: scheme, host, path
  bool loopback_only = false;
  HttpResponse response;
  size_t head_bytes = 0, body_bytes = 0;
  bool head_done = false;
  bool left_loopback = false;
  Status refused = {};  // why a callback ended the request
};

bool IsTokenLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenLetter);
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

/// A part of a parsed URL; empty where there is none.
std::string UrlPart(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

/// Checks the URL, and fills what of it may stand in a sentence.
Status ReadUrl(const HttpClientRequest& request, Exchange& exchange) {
  const UrlPtr url(curl_url());
  if (request.url.size() > kMaxUrlBytes || !url ||
      curl_url_set(url.get(), CURLUPART_URL, request.url.c_str(), 0) != CURLUE_OK ||
      request.url.find('\0') != std::string::npos)
    return InvalidArgument("the address to fetch is not a URL such as https://host/path");
  const std::string scheme = UrlPart(url.get(), CURLUPART_SCHEME), port = UrlPart(url.get(), CURLUPART_PORT);
  exchange.where = fmt::format("{}://{}{}{}{}", scheme, UrlPart(url.get(), CURLUPART_HOST),
                               port.empty() ? "" : ":", port, UrlPart(url.get(), CURLUPART_PATH));
  if (!UrlPart(url.get(), CURLUPART_USER).empty() || !UrlPart(url.get(), CURLUPART_PASSWORD).empty())
    return InvalidArgument("{} is written with a user or password, which an address must not hold",
                           exchange.where);
  if (scheme == "https") return {};
  if (scheme != "http") return InvalidArgument("{} is not an https:// address", exchange.where);
  if (!request.allow_loopback_http)
    return InvalidArgument("{} is plain HTTP; only https:// addresses are taken here", exchange.where);
  exchange.loopback_only = true;
  return {};
}

bool IsLoopback(const curl_sockaddr& address) {
  if (address.family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in*>(&address.addr)->sin_addr.s_addr) >> 24 == 127;
  return address.family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&address.addr)->sin6_addr);
}

/// Opens the socket; a plain connection only to the machine itself, whatever its name resolves to.
curl_socket_t OpenSocket(void* data, curlsocktype, curl_sockaddr* address) {
  Exchange& exchange = *static_cast<Exchange*>(data);
  if (exchange.loopback_only && !IsLoopback(*address)) {
    exchange.left_loopback = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/// One line of a head, or of the trailers, which are ignored. 0 ends the transfer.
size_t OnHeaderLine(char* data, size_t, size_t size, void* context) {
  Exchange& exchange = *static_cast<Exchange*>(context);
  std::string_view line(data, size);
  exchange.head_bytes += size;
  if (exchange.head_bytes > kMaxHeadBytes) {
    exchange.refused = ResourceExhausted("the head of the response from {} is larger than {} bytes",
                                         exchange.where, kMaxHeadBytes);
    return 0;
  }
  if (exchange.head_done) return size;
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  HttpResponse& response = exchange.response;
  if (line.starts_with("HTTP/")) {
    response = {};
    const size_t space = line.find(' ');
    if (space != std::string_view::npos)
      response.status = std::atoi(std::string(line.substr(space + 1, 3)).c_str());
  } else if (!line.empty()) {
    const size_t colon = std::min(line.find(':'), line.size());
    std::string_view value = line.substr(std::min(colon + 1, line.size()));
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    response.headers.emplace_back(LowerCase(line.substr(0, colon)), value);
  } else if (response.status >= 200) {
    exchange.head_done = true;
    if (exchange.request.on_headers && !exchange.request.on_headers(response)) {
      exchange.refused = Cancelled("the request to {} was ended", exchange.where);
      return 0;
    }
  }
  return size;
}

/// A piece of the body. Anything but its size ends the transfer.
size_t OnBody(char* data, size_t, size_t size, void* context) {
  Exchange& exchange = *static_cast<Exchange*>(context);
  const size_t limit = exchange.request.max_response_bytes;
  if (size > limit - exchange.body_bytes) {
    exchange.refused = ResourceExhausted("the response from {} is larger than the {} bytes that are taken",
                                         exchange.where, limit);
    return 0;
  }
  exchange.body_bytes += size;
  if (!exchange.request.on_body) {
    exchange.response.body.append(data, size);
  } else if (!exchange.request.on_body({data, size})) {
    exchange.refused = Cancelled("the request to {} was ended", exchange.where);
    return size + 1;  // 0 would not do where size is 0
  }
  return size;
}

Status AddHeaders(const HttpClientRequest& request, HeaderList& list) {
  // Without these libcurl waits a second for "100 Continue", and names a form's type for a body that has
  // none.
  bool added = list.Add("Expect:");
  bool typed = false;
  for (const auto& [name, value] : request.headers) {
    const bool clean = std::all_of(value.begin(), value.end(), [](char c) {
      return c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != 127);
    });
    if (!IsToken(name) || !clean)
      return InvalidArgument("a header of the request holds what no header may hold");
    typed = typed || LowerCase(name) == "content-type";
    added = added && list.Add(value.empty() ? name + ";" : name + ": " + value);
  }
  if (!typed) added = added && list.Add("Content-Type:");
  if (!added) return ResourceExhausted("memory ran out for the headers of a request");
  return {};
}

/// The rules of TLS, of names and of time. False if libcurl lacks one of them.
bool SetRules(CURL* easy, const HttpClientRequest& request, Exchange& exchange) {
  const auto set = [easy](CURLoption option, auto value) {
    return curl_easy_setopt(easy, option, value) == CURLE_OK;
  };
  bool good = set(CURLOPT_NOSIGNAL, 1L) &&
              set(CURLOPT_PROTOCOLS_STR, exchange.loopback_only ? "http" : "https") &&
              set(CURLOPT_FOLLOWLOCATION, 0L) && set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1}) &&
              set(CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2}) && set(CURLOPT_SSL_VERIFYPEER, 1L) &&
              set(CURLOPT_SSL_VERIFYHOST, 2L) && set(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) &&
              set(CURLOPT_HTTP_TRANSFER_DECODING, 1L) && set(CURLOPT_TCP_NODELAY, 1L);
  if (!request.ca_file.empty())
    good = good && set(CURLOPT_CAINFO, request.ca_file.c_str()) &&
           set(CURLOPT_CAPATH, static_cast<char*>(nullptr));
  if (!request.client_certificate_file.empty())
    good = good && set(CURLOPT_SSLCERT, request.client_certificate_file.c_str()) &&
           set(CURLOPT_SSLKEY, request.client_key_file.c_str());
  if (!request.environment_proxy) good = good && set(CURLOPT_PROXY, "") && set(CURLOPT_NOPROXY, "*");
  good = good && set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count())) &&
         set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_timeout.count()));
  if (request.stall_timeout.count() > 0)
    good = good && set(CURLOPT_LOW_SPEED_LIMIT, 1L) &&
           set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall_timeout.count()));
  return good;
}

/// The request itself and where its response goes.
bool SetRequest(CURL* easy, const HttpClientRequest& request, Exchange& exchange, const HeaderList& headers,
                char* error_text) {
  const auto set = [easy](CURLoption option, auto value) {
    return curl_easy_setopt(easy, option, value) == CURLE_OK;
  };
  bool good = set(CURLOPT_URL, request.url.c_str()) && set(CURLOPT_HTTPHEADER, headers.lines()) &&
              set(CURLOPT_USERAGENT, "hadal") && set(CURLOPT_ERRORBUFFER, error_text) &&
              set(CURLOPT_HEADERFUNCTION, OnHeaderLine) && set(CURLOPT_HEADERDATA, &exchange) &&
              set(CURLOPT_WRITEFUNCTION, OnBody) && set(CURLOPT_WRITEDATA, &exchange) &&
              set(CURLOPT_OPENSOCKETFUNCTION, OpenSocket) && set(CURLOPT_OPENSOCKETDATA, &exchange);
  if (request.method == "HEAD") {
    good = good && set(CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    good = good && set(CURLOPT_POST, 1L) && set(CURLOPT_POSTFIELDS, request.body.data()) &&
           set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size())) &&
           set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  return good;
}

/// libcurl's sentence, without control characters that a peer might have put into it.
std::string CauseText(CURLcode code, const char* error_text) {
  std::string text = error_text[0] != '\0' ? error_text : curl_easy_strerror(code);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = ' ';
  return text.substr(0, 300);
}

tl::unexpected<Error> ErrorOf(CURLcode code, const char* error_text, const Exchange& exchange) {
  if (!exchange.refused) return tl::unexpected(exchange.refused.error());
  if (exchange.left_loopback)
    return InvalidArgument("{} is plain HTTP and not on this machine; use https://", exchange.where);
  const std::string cause = CauseText(code, error_text);
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
      return FailedPrecondition(
          "the certificate of {} is not trusted ({}); name the file of the CA that it comes from",
          exchange.where, cause);
    case CURLE_SSL_CACERT_BADFILE:
      return FailedPrecondition("the CA file {} cannot be used: {}", exchange.request.ca_file.string(),
                                cause);
    case CURLE_SSL_CERTPROBLEM:
      return FailedPrecondition("the client certificate {} cannot be used: {}",
                                exchange.request.client_certificate_file.string(), cause);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_PARTIAL_FILE:
    case CURLE_BAD_CONTENT_ENCODING:
      return DataLoss("the response from {} is not whole HTTP: {}", exchange.where, cause);
    case CURLE_OUT_OF_MEMORY:
      return ResourceExhausted("memory ran out for the request to {}", exchange.where);
    default:
      return Unavailable("{} does not answer: {}", exchange.where, cause);
  }
}

/// Drives the transfer to its end, asking in between whether it is still wanted.
Result<CURLcode> Drive(CURLM* multi, const HttpClientRequest& request, const Exchange& exchange) {
  for (;;) {
    int running = 0, left = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK) return Internal("libcurl could not go on");
    while (const CURLMsg* message = curl_multi_info_read(multi, &left))
      if (message->msg == CURLMSG_DONE) return message->data.result;
    if (running == 0) return Internal("libcurl lost a request");
    if (request.cancelled && request.cancelled())
      return Cancelled("the request to {} was ended", exchange.where);
    if (curl_multi_poll(multi, nullptr, 0, kPollMilliseconds, nullptr) != CURLM_OK)
      return Internal("libcurl could not wait");
  }
}

Result<HttpResponse> Perform(CURL* easy, const HttpClientRequest& request, Exchange& exchange,
                             const char* error_text) {
  const SigpipeGuard guard;
  const MultiPtr multi(curl_multi_init());
  if (!multi || curl_multi_add_handle(multi.get(), easy) != CURLM_OK)
    return ResourceExhausted("memory ran out for the request to {}", exchange.where);
  const Result<CURLcode> code = Drive(multi.get(), request, exchange);
  curl_multi_remove_handle(multi.get(), easy);
  if (!code) return tl::unexpected(code.error());
  if (*code == CURLE_SSL_CONNECT_ERROR) {
    // A false signature has an error of its own in libcurl, as if the handshake had failed; the verdict
    // tells.
    long verdict = X509_V_OK;
    if (curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verdict) == CURLE_OK && verdict != X509_V_OK)
      return ErrorOf(CURLE_PEER_FAILED_VERIFICATION, X509_verify_cert_error_string(verdict), exchange);
  }
  if (*code != CURLE_OK) return ErrorOf(*code, error_text, exchange);
  return std::move(exchange.response);
}

}  // namespace

const std::string* HttpResponse::Header(std::string_view lower_name) const {
  for (const auto& [name, value] : headers)
    if (name == lower_name) return &value;
  return nullptr;
}

Result<HttpResponse> HttpFetch(const HttpClientRequest& request) {
  // Once a process, by whichever thread comes first; OpenSSL begins by itself.
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  if (!ready) return Internal("libcurl could not be started");
  Exchange exchange{.request = request, .where = {}, .response = {}};
  RETURN_IF_ERROR(ReadUrl(request, exchange));
  if (!IsToken(request.method)) return InvalidArgument("the request's method is not a word");
  if (request.client_certificate_file.empty() != request.client_key_file.empty())
    return InvalidArgument("a client certificate needs its key's file, and a key its certificate's");
  HeaderList headers;
  RETURN_IF_ERROR(AddHeaders(request, headers));
  const EasyPtr easy(curl_easy_init());
  std::array<char, CURL_ERROR_SIZE> error_text{};
  if (!easy || !SetRules(easy.get(), request, exchange) ||
      !SetRequest(easy.get(), request, exchange, headers, error_text.data()))
    return Internal("libcurl does not take the request to {}", exchange.where);
  return Perform(easy.get(), request, exchange, error_text.data());
}

}  // namespace hadal
