// The whole service: engine loop, access control, routes, metrics and the HTTPS server, started and drained together.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "engine/engine_loop.h"
#include "server/access.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/api/api_context.h"
#include "server/task_queue.h"

namespace hadal {

struct ServiceOptions {
  Path model_dir;
  std::string model;              // the id that requests name
  std::string version;            // of the build, for /metrics
  Path state;                     // certificates, keys, accounts
  std::vector<std::string> hosts; // names that clients reach the service by, beside loopback's
  std::string public_url;         // issuer and published addresses; empty: https:// and the address listened on
  SamplingParams defaults;        // what requests do not say
  LoopOptions loop;
  ServerOptions server;           // its tls files, observer and allowed_hosts are set here
  std::chrono::seconds stalled_after{30};  // without progress on pending work: not ready
};

class Service {
 public:
  /// Makes CA, server certificate and keys in the state folder where they are missing, and serves from the moment it
  /// returns. `engine` is loaded. Errors are those of the parts.
  static Result<std::unique_ptr<Service>> Start(std::unique_ptr<Engine> engine, ServiceOptions options);
  ~Service();

  const std::string& address() const { return server_->address(); }
  /// Whether Start made a certificate (the first start, or one that had run out).
  bool made_certificate() const { return made_certificate_; }

  /// Not ready from now on; running requests get `limit` to finish, then everything is closed.
  void Drain(std::chrono::milliseconds limit);
  /// Renews the server certificate where it must be, and takes new files into use.
  Status ReloadCertificate();

 private:
  explicit Service(ServiceOptions options) : options_(std::move(options)) {}
  Status StartLoop(std::unique_ptr<Engine> engine);
  Status StartAccess();
  Status StartServer();
  std::vector<Route> Routes();
  bool Ready() const;

  ServiceOptions options_;
  bool made_certificate_ = false;
  std::atomic<bool> draining_{false};
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<EngineLoop> loop_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<TaskQueue> tasks_;
  std::unique_ptr<api::LoopBackend> backend_;
  std::optional<api::ApiContext> api_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace hadal
