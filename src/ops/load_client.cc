#include "ops/load_client.h"

#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace hadal {
namespace {

using Clock = LoadClient::Clock;

constexpr std::chrono::seconds kConnectTimeout{10};

/// libcurl wants to be told once a process, before threads use it; it is never taken back.
bool InitCurl() {
  static const bool ok = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return ok;
}

std::string_view HostOf(std::string_view url) {
  const size_t begin = url.find("://") + 3;
  std::string_view host = url.substr(begin, url.find('/', begin) - begin);
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.find(':'));
}

/// By the address itself: 127.example.org is a name like any other.
bool IsLoopback(std::string_view host) {
  const bool numeric = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return host == "localhost" || host == "::1" || (numeric && host.starts_with("127."));
}

/// The few words for what libcurl reports, by which failures are counted.
std::string_view FailureKind(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return "resolve";
    case CURLE_COULDNT_CONNECT:
      return "connect";
    case CURLE_OPERATION_TIMEDOUT:
      return "timeout";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
      return "tls";
    default:
      return "broken";
  }
}

}  // namespace

struct LoadClient::Transfer {
  LoadClient* client = nullptr;
  CURL* easy = nullptr;
  Id id = 0;  // 0: not in use
  Receiver* receiver = nullptr;
  OutgoingRequest request;
  std::string url;
  curl_slist* headers = nullptr;
  bool stopped = false;
  char error[CURL_ERROR_SIZE] = {};

  ~Transfer() {
    ClearHeaders();
    curl_easy_cleanup(easy);
  }
  void AddHeader(const std::string& line) { headers = curl_slist_append(headers, line.c_str()); }
  /// They hold the token.
  void ClearHeaders() {
    for (curl_slist* line = headers; line; line = line->next) WipeMemory(line->data, std::strlen(line->data));
    curl_slist_free_all(headers);
    headers = nullptr;
  }
  int status() const {
    long code = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    return static_cast<int>(code);
  }
};

/// What libcurl calls.
struct LoadClient::Callbacks {
  static size_t Write(char* data, size_t size, size_t count, void* context) {
    Transfer& transfer = *static_cast<Transfer*>(context);
    switch (transfer.receiver->OnBytes(transfer.status(), {data, size * count})) {
      case Reading::kGoOn:
        return size * count;
      case Reading::kPause:
        return CURL_WRITEFUNC_PAUSE;
      case Reading::kStop:
        break;
    }
    transfer.stopped = true;
    return 0;
  }

  static int Socket(CURL*, curl_socket_t fd, int what, void* context, void* known) {
    LoadClient& client = *static_cast<LoadClient*>(context);
    if (what == CURL_POLL_REMOVE) {
      epoll_ctl(client.epoll_, EPOLL_CTL_DEL, fd, nullptr);
      return 0;
    }
    epoll_event event = {};
    if (what & CURL_POLL_IN) event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT) event.events |= EPOLLOUT;
    event.data.fd = fd;
    epoll_ctl(client.epoll_, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    if (!known) curl_multi_assign(client.multi_, fd, &client);
    return 0;
  }

  static int Timer(CURLM*, long milliseconds, void* context) {
    static_cast<LoadClient*>(context)->curl_due_ =
        milliseconds < 0 ? Clock::time_point::max() : Clock::now() + std::chrono::milliseconds(milliseconds);
    return 0;
  }
};

Status CheckEndpoint(const Endpoint& endpoint) {
  const std::string& url = endpoint.url;
  const bool https = url.starts_with("https://"), http = url.starts_with("http://");
  const std::string_view host = https || http ? HostOf(url) : std::string_view();
  if (host.empty() || url.find_first_of(" \t\r\n\"<>") != std::string::npos)
    return InvalidArgument("'{}' is no address of a server; give one such as https://127.0.0.1:8443/v1",
                           url.substr(0, 200));
  if (url.find('@') != std::string::npos)
    return InvalidArgument("the URL has an @; secrets do not belong there, use --token-file");
  if (http && !endpoint.token.empty() && !IsLoopback(host))
    return PermissionDenied("{}: a token does not go over plain HTTP to another machine; use https", url);
  std::error_code ignored;
  if (!endpoint.ca_file.empty() && !std::filesystem::is_regular_file(endpoint.ca_file, ignored))
    return NotFound("{}: no such CA file; hadal serve keeps it at STATE/ca.crt", endpoint.ca_file.string());
  return {};
}

LoadClient::LoadClient(Endpoint endpoint, int most) : endpoint_(std::move(endpoint)), most_(most) {}

Result<std::unique_ptr<LoadClient>> LoadClient::Create(Endpoint endpoint, int most) {
  while (endpoint.url.ends_with('/')) endpoint.url.pop_back();
  RETURN_IF_ERROR(CheckEndpoint(endpoint));
  std::unique_ptr<LoadClient> client(new LoadClient(std::move(endpoint), most));
  RETURN_IF_ERROR(client->Open());
  return client;
}

Status LoadClient::Open() {
  if (!InitCurl()) return Internal("libcurl does not start");
  multi_ = curl_multi_init();
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (!multi_ || epoll_ < 0 || timer_ < 0)
    return ResourceExhausted("no descriptors for the load generator: {}", std::strerror(errno));
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = timer_;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, Callbacks::Socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, Callbacks::Timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(most_));
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  return {};
}

LoadClient::~LoadClient() {
  for (const auto& transfer : transfers_)
    if (transfer->id != 0) curl_multi_remove_handle(multi_, transfer->easy);
  transfers_.clear();
  if (multi_) curl_multi_cleanup(multi_);
  for (const int fd : {timer_, epoll_})
    if (fd >= 0) close(fd);
}

LoadClient::Id LoadClient::Start(OutgoingRequest request, Receiver& receiver) {
  HADAL_CHECK(under_way_ < most_, "{} requests are under way", under_way_);
  if (free_.empty()) {
    free_.push_back(transfers_.emplace_back(std::make_unique<Transfer>()).get());
    free_.back()->easy = curl_easy_init();
    HADAL_CHECK(free_.back()->easy, "libcurl gives no handle");
    free_.back()->client = this;
  }
  Transfer& t = *free_.back();
  free_.pop_back();
  ++under_way_;
  t.id = next_id_++;
  t.receiver = &receiver;
  t.request = std::move(request);
  t.stopped = false;
  t.error[0] = 0;
  t.url = t.request.path.find("://") == std::string::npos ? endpoint_.url + t.request.path : t.request.path;
  CURL* easy = t.easy;
  curl_easy_reset(easy);
  curl_easy_setopt(easy, CURLOPT_URL, t.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &t);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t.error);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, Callbacks::Write);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &t);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(std::chrono::milliseconds(kConnectTimeout).count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(t.request.timeout.count()));
  if (!endpoint_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, endpoint_.ca_file.c_str());
  if (t.request.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t.request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t.request.body.c_str());
    if (t.request.method != "POST") curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, t.request.method.c_str());
    t.AddHeader("Content-Type: " + t.request.content_type);
    t.AddHeader("Expect:");  // no waiting for a 100 before a large body
  }
  std::string authorization = "Authorization: Bearer ";
  const bool own = t.request.with_token && t.request.other_token.empty() && !endpoint_.token.empty();
  authorization += own ? endpoint_.token.view() : std::string_view(t.request.other_token);
  if (own || !t.request.other_token.empty()) t.AddHeader(authorization);
  Wipe(authorization);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t.headers);
  const Id id = t.id;
  HADAL_CHECK(curl_multi_add_handle(multi_, easy) == CURLM_OK, "libcurl takes no handle");
  return id;
}

LoadClient::Transfer* LoadClient::Find(Id id) {
  const auto found = std::ranges::find_if(transfers_, [&](const auto& t) { return t->id == id; });
  return id == 0 || found == transfers_.end() ? nullptr : found->get();
}

void LoadClient::Cancel(Id id) {
  if (Transfer* transfer = Find(id)) End(*transfer, {.status = transfer->status(), .stopped = true});
}

void LoadClient::Resume(Id id) {
  if (Transfer* transfer = Find(id)) curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
}

void LoadClient::End(Transfer& transfer, const TransferEnd& end) {
  long opened = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_NUM_CONNECTS, &opened);
  connections_ += opened;
  curl_multi_remove_handle(multi_, transfer.easy);
  transfer.ClearHeaders();
  Receiver& receiver = *transfer.receiver;
  transfer.id = 0;
  --under_way_;
  free_.push_back(&transfer);
  receiver.OnEnd(end);
}

void LoadClient::TakeEnded() {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* context = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &context);
    Transfer& transfer = *reinterpret_cast<Transfer*>(context);
    TransferEnd end{.status = transfer.status(), .stopped = transfer.stopped};
    if (code != CURLE_OK && !transfer.stopped) {
      end.failure = FailureKind(code);
      end.detail = transfer.error[0] ? transfer.error : curl_easy_strerror(code);
    }
    End(transfer, end);
  }
}

void LoadClient::Run(Clock::time_point until) {
  const Clock::time_point now = Clock::now();
  // 0 would disarm the timer: what is due already is due in a nanosecond.
  const auto wait =
      std::max<std::chrono::nanoseconds>(std::min(until, curl_due_) - now, std::chrono::nanoseconds(1));
  itimerspec due = {};
  due.it_value.tv_sec = wait.count() / 1'000'000'000;
  due.it_value.tv_nsec = wait.count() % 1'000'000'000;
  timerfd_settime(timer_, 0, &due, nullptr);
  epoll_event events[64];
  const int count = epoll_wait(epoll_, events, 64, -1);
  int running = 0;
  for (int i = 0; i < count; ++i) {
    if (events[i].data.fd == timer_) {
      uint64_t ticks = 0;
      [[maybe_unused]] const ssize_t got = read(timer_, &ticks, sizeof ticks);
      continue;
    }
    int what = 0;
    if (events[i].events & EPOLLIN) what |= CURL_CSELECT_IN;
    if (events[i].events & EPOLLOUT) what |= CURL_CSELECT_OUT;
    if (events[i].events & (EPOLLERR | EPOLLHUP)) what |= CURL_CSELECT_ERR;
    curl_multi_socket_action(multi_, events[i].data.fd, what, &running);
  }
  if (Clock::now() >= curl_due_) {
    curl_due_ = Clock::time_point::max();
    curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
  }
  TakeEnded();
}

namespace {

class WholeReceiver : public Receiver {
 public:
  explicit WholeReceiver(size_t max_bytes) : max_bytes_(max_bytes) {}
  Reading OnBytes(int, std::string_view bytes) override {
    if (response.body.size() + bytes.size() > max_bytes_) return Reading::kStop;
    response.body += bytes;
    return Reading::kGoOn;
  }
  void OnEnd(const TransferEnd& end) override {
    response.end = end;
    done = true;
  }
  WholeResponse response;
  bool done = false;

 private:
  size_t max_bytes_;
};

}  // namespace

WholeResponse Exchange(LoadClient& client, OutgoingRequest request, size_t max_bytes) {
  WholeReceiver receiver(max_bytes);
  client.Start(std::move(request), receiver);
  while (!receiver.done) client.Run(Clock::now() + std::chrono::seconds(1));
  return std::move(receiver.response);
}

Error FailureOf(const Endpoint& endpoint, const TransferEnd& end) {
  const std::string& url = endpoint.url;
  if (end.failure == "tls") {
    const std::string trusted =
        endpoint.ca_file.empty() ? "the system's CAs" : "the CA of " + endpoint.ca_file.string();
    return {
        Code::kPermissionDenied,
        fmt::format(
            "{}: no trusted TLS connection with {} ({}); give the server's CA with --ca, hadal serve has it "
            "at STATE/ca.crt",
            url, trusted, end.detail)};
  }
  if (end.failure == "resolve" || end.failure == "connect")
    return {
        Code::kUnavailable,
        fmt::format("{}: nobody answers ({}); check the address and that the server runs", url, end.detail)};
  if (end.failure == "timeout")
    return {Code::kUnavailable, fmt::format("{}: no answer in time ({})", url, end.detail)};
  return {Code::kUnavailable, fmt::format("{}: the connection broke ({})", url, end.detail)};
}

}  // namespace hadal
