// Many HTTP requests at once from one thread: libcurl's multi interface on epoll.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "server/secrets.h"

namespace hadal {

/// Where requests go, and what they show.
struct Endpoint {
  std::string url;    // with the path that all requests share: "https://host:8443/v1", no slash at its end
  Path ca_file = {};  // PEM; empty: the CAs that the system trusts
  Secret token = {};  // for "Authorization: Bearer"; empty: none
};

/// kInvalidArgument: not http or https, or with credentials in it; kPermissionDenied: a token would go over
/// plain HTTP to another machine; kNotFound: no CA file.
Status CheckEndpoint(const Endpoint& endpoint);

enum class Reading {
  kGoOn,
  kPause,  // these bytes come again after Resume; meanwhile the connection is not read
  kStop,   // the connection is closed
};

/// How a request ended.
struct TransferEnd {
  int status = 0;        // of HTTP; 0: no response came
  bool stopped = false;  // by the receiver or by Cancel
  /// What failed below HTTP: "resolve", "connect", "tls", "timeout", "broken"; empty: the response came
  /// whole.
  std::string failure = {};
  std::string detail = {};  // of a failure, in libcurl's words
};

/// Takes one response. Called from LoadClient::Run, never after OnEnd.
class Receiver {
 public:
  virtual ~Receiver() = default;
  virtual Reading OnBytes(int status, std::string_view bytes) = 0;
  /// May call LoadClient::Start.
  virtual void OnEnd(const TransferEnd& end) = 0;
};

struct OutgoingRequest {
  std::string path = {};        // behind the endpoint's URL, or a whole URL
  std::string method = "POST";  // sent as it is; a body goes with all but GET
  std::string content_type = "application/json";
  std::string body = {};
  bool with_token = true;
  std::string other_token = {};  // sent instead of the endpoint's, where not empty
  std::chrono::milliseconds timeout{600'000};
};

/// Certificates are verified. No proxy, no redirects, HTTP/1.1; connections are kept for later requests. One
/// thread.
class LoadClient {
 public:
  using Clock = std::chrono::steady_clock;
  using Id = int64_t;

  /// At most `most` requests at once.
  static Result<std::unique_ptr<LoadClient>> Create(Endpoint endpoint, int most);
  ~LoadClient();
  LoadClient(const LoadClient&) = delete;
  LoadClient& operator=(const LoadClient&) = delete;

  /// Sends a request; a bug (CHECK) when `most` are under way. `receiver` must live until its OnEnd.
  Id Start(OutgoingRequest request, Receiver& receiver);
  /// Closes the connection; OnEnd comes with `stopped` before this returns. Nothing if it has ended.
  void Cancel(Id id);
  void Resume(Id id);

  /// Moves bytes until something came or `until` is reached, whichever is first.
  void Run(Clock::time_point until);

  int under_way() const { return under_way_; }
  int most() const { return most_; }
  const Endpoint& endpoint() const { return endpoint_; }
  /// Connections opened since the start.
  int64_t connections() const { return connections_; }

 private:
  struct Transfer;
  struct Callbacks;
  LoadClient(Endpoint endpoint, int most);
  Status Open();
  void End(Transfer& transfer, const TransferEnd& end);
  void TakeEnded();
  Transfer* Find(Id id);

  Endpoint endpoint_;
  int most_;
  int under_way_ = 0;
  int64_t connections_ = 0;
  Id next_id_ = 1;
  void* multi_ = nullptr;  // CURLM
  int epoll_ = -1, timer_ = -1;
  Clock::time_point curl_due_ = Clock::time_point::max();  // when libcurl wants to be called
  std::vector<std::unique_ptr<Transfer>> transfers_;       // each made when first needed, then used again
  std::vector<Transfer*> free_;
};

/// One request and its whole response, up to `max_bytes`; for probes.
struct WholeResponse {
  TransferEnd end;
  std::string body;
};
WholeResponse Exchange(LoadClient& client, OutgoingRequest request, size_t max_bytes = size_t{4} << 20);

/// The sentence for a request that failed below HTTP: what was wrong, and what to do.
Error FailureOf(const Endpoint& endpoint, const TransferEnd& end);

}  // namespace hadal
