// The whole service: engine loop, access control, routes, metrics and the HTTPS server, started and drained
// together.
//
// It listens before the model is loaded: probes, tokens and what OAuth publishes are answered from then on,
// the API with 503 until Serve brings the engine.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "engine/engine_loop.h"
#include "server/access.h"
#include "server/api/api_context.h"
#include "server/certificate_keeper.h"
#include "server/certificates.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/readiness.h"
#include "server/task_queue.h"

namespace hadal {

struct ServiceOptions {
  Path model_dir;
  std::string model;               // the id that requests name
  std::string version;             // of the build, for /metrics
  Path state;                      // certificates, keys, accounts
  std::vector<std::string> hosts;  // names that clients reach the service by, beside loopback's
  std::string public_url;   // issuer and published addresses; empty: the issuer as last time, the address listened on
  SamplingParams defaults;  // what requests do not say
  LoopOptions loop;
  /// Its observer and allowed_hosts are set here. tls files that are named are the operator's: they are
  /// watched, and read again when they change; without them the internal CA makes a certificate, and renews
  /// it in time.
  ServerOptions server;
  int64_t certificate_seconds =
      kServerCertificateSeconds;  // of the internal CA's certificates for this server
  std::chrono::milliseconds certificate_interval{10'000};  // between looks at the certificate
  std::vector<OutsideIssuerOptions> issuers = {};          // whose tokens are accepted, too
  std::chrono::seconds stalled_after{30};                  // without progress on pending work: not ready
  std::function<void(const std::string&)> warn = {};       // told of what goes wrong in the background
  Log* log = nullptr;  // gets a line for each response; outlives the service; null: none
  /// What decode steps are held against in /metrics; 0: measured by Serve, which reads weights for 100 ms.
  double memory_bytes_per_second = 0;
};

class Service {
 public:
  /// Makes CA, server certificate and keys in the state folder where they are missing, and listens from the
  /// moment it returns. Reads the model folder's config, tokenizer and template, not its weights. Errors are
  /// those of the parts.
  static Result<std::unique_ptr<Service>> Start(ServiceOptions options);
  /// Start, then Serve with the options' loop and defaults: for an engine that is loaded already.
  static Result<std::unique_ptr<Service>> Start(std::unique_ptr<Engine> engine, ServiceOptions options);
  ~Service();

  /// For /readyz while the weights are read; from any thread.
  void SetLoadProgress(uint64_t done, uint64_t total) { readiness_.SetProgress(done, total); }
  /// For EngineOptions::beside: what `loop` and the connections will take.
  PlanBeside PlanFor(LoopOptions loop) const;
  /// Answers the API from the moment it returns. Once only. `engine` is loaded: names, types, shapes and byte
  /// ranges of its tensors have been checked.
  Status Serve(std::unique_ptr<Engine> engine, LoopOptions loop, SamplingParams defaults);

  const std::string& address() const { return server_->address(); }
  /// Whether Start made a certificate (the first start, or one that had run out).
  bool made_certificate() const { return made_certificate_; }

  /// Not ready from now on; running requests get `limit` to finish and their responses to be read
  /// (which gets half a second at least), then everything is closed.
  void Drain(std::chrono::milliseconds limit);
  /// Cuts a Drain that runs on another thread short: what has not finished is cancelled.
  void Hurry();
  /// Renews the server certificate where it must be, and takes new files into use.
  Status ReloadCertificate();

 private:
  explicit Service(ServiceOptions options) : options_(std::move(options)) {}
  Status StartAccess();
  void PublishAddress(const std::string& address);
  Status PrepareCertificate();
  void StartKeeper();
  std::vector<std::string> CertificateHosts() const;

  // service_routes.cc
  std::vector<Route> Routes();
  std::vector<Route> ApiRoutes() const;
  Route WaitingRoute(Route route, size_t index);
  LoopStats LoopNow() const;
  Readiness::Report ReadinessNow(const LoopStats& loop) const;
  void AnswerReady(ResponseWriter& writer) const;
  void AnswerMetrics(ResponseWriter& writer);

  ServiceOptions options_;
  bool made_certificate_ = false;
  Readiness readiness_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<TaskQueue> tasks_;
  std::optional<api::ApiContext> api_;

  std::unique_ptr<Metrics> metrics_;

  // Made by Serve, and not to be touched before serving_ is true.
  std::atomic<bool> serving_{false};
  std::atomic<bool> hurried_{false};  // by Hurry
  std::unique_ptr<EngineLoop> loop_;
  std::unique_ptr<api::LoopBackend> backend_;
  std::vector<Handler> handlers_;  // of the API's routes, in the order of ApiRoutes

  std::unique_ptr<HttpServer> server_;
  std::atomic<bool> listening_{false};  // server_ is set: it serves before Start has it
  std::unique_ptr<CertificateKeeper> keeper_;
};

}  // namespace hadal
