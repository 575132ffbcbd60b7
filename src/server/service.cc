#include "server/service.h"

#include <algorithm>

#include "base/check.h"
#include "engine/grammar/program_budget.h"
#include "engine/grammar/token_mask.h"
#include "kernels/limits.h"
#include "model/config.h"
#include "server/access_log.h"

namespace hadal {
namespace {

// Large bodies are parsed and tokenized two at a time.
constexpr int kTaskThreads = 2;
constexpr size_t kTasksWaiting = 256;
constexpr auto kCloseTime = std::chrono::milliseconds(500);
// Long against a fork of the threads, short against loading.
constexpr std::chrono::milliseconds kBandwidthProbe{100};

Metrics::EngineInfo InfoOf(Engine& engine, double memory_bytes_per_second) {
  Metrics::EngineInfo info;
  info.kernels = engine.kernels().name;
  info.context = engine.context();
  info.planned_bytes = engine.plan().total();
  info.memory_bytes_per_second = memory_bytes_per_second;
  if (info.memory_bytes_per_second == 0)
    info.memory_bytes_per_second =
        1e9 * MeasureReadGbps(engine.threads(), engine.weights().memory, kBandwidthProbe);
  return info;
}

}  // namespace

Result<std::unique_ptr<Service>> Service::Start(ServiceOptions options) {
  std::unique_ptr<Service> service(new Service(std::move(options)));
  RETURN_IF_ERROR(service->StartAccess());
  RETURN_IF_ERROR(service->PrepareCertificate());
  ServiceOptions& own = service->options_;
  ASSIGN_OR_RETURN(const ModelConfig config, LoadConfig(own.model_dir));
  ASSIGN_OR_RETURN(service->api_, api::MakeApiContext(own.model_dir, config, own.model));
  service->tasks_ = std::make_unique<TaskQueue>(kTaskThreads, kTasksWaiting);
  service->metrics_ = std::make_unique<Metrics>(own.version, own.model);
  own.server.allowed_hosts = own.hosts;
  own.server.observer = [raw = service.get()](const AccessRecord& record) {
    raw->metrics_->ObserveHttp(record);
    if (raw->options_.log) LogAccess(*raw->options_.log, record);
  };
  if (own.server.listen.find(':') != std::string::npos) service->PublishAddress(own.server.listen);
  ASSIGN_OR_RETURN(service->server_,
                   HttpServer::Start(own.server, service->Routes(), &service->access_->authorizer()));
  service->PublishAddress(service->server_->address());  // with the port that was found
  service->listening_ = true;
  service->StartKeeper();
  return service;
}

Result<std::unique_ptr<Service>> Service::Start(std::unique_ptr<Engine> engine, ServiceOptions options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Service> service, Start(std::move(options)));
  RETURN_IF_ERROR(service->Serve(std::move(engine), service->options_.loop, service->options_.defaults));
  return service;
}

Service::~Service() {
  // Handlers use everything else, so the server goes first; requests it started end with the loop.
  keeper_.reset();
  // Handlers read server_ until its threads have ended; reset() clears the pointer before that.
  if (server_) server_->Stop(std::chrono::milliseconds(0));
  server_.reset();
  tasks_.reset();
  loop_.reset();
}

Status Service::StartAccess() {
  AccessOptions access;
  access.state = options_.state;
  // Without it as last time: what tokens say of their issuer must not change with the address listened on.
  access.issuer = options_.public_url;
  access.outside = options_.issuers;
  for (OutsideIssuerOptions& issuer : access.outside)
    if (!issuer.warn) issuer.warn = options_.warn;
  ASSIGN_OR_RETURN(access_, Access::Open(std::move(access)));
  return {};
}

/// Where clients reach what listens at `address` ("0.0.0.0:8443"), unless the operator says where.
void Service::PublishAddress(const std::string& address) {
  if (!options_.public_url.empty()) return access_->oauth().SetAddress(options_.public_url);
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host == "0.0.0.0" || host == "[::]") host = options_.hosts.empty() ? "127.0.0.1" : options_.hosts.front();
  access_->oauth().SetAddress(fmt::format("{}://{}{}", options_.server.plain ? "http" : "https", host,
                                          address.substr(colon)));
}

std::vector<std::string> Service::CertificateHosts() const {
  std::vector<std::string> hosts = LocalHosts();
  hosts.insert(hosts.end(), options_.hosts.begin(), options_.hosts.end());
  return hosts;
}

Status Service::PrepareCertificate() {
  TlsOptions& tls = options_.server.tls;
  if (options_.server.plain || !tls.certificate_file.empty()) return {};
  ASSIGN_OR_RETURN(made_certificate_,
                   EnsureServerCertificate(options_.state, CertificateHosts(), options_.certificate_seconds));
  tls.certificate_file = options_.state / "server.crt";
  tls.key_file = options_.state / "server.key";
  return {};
}

void Service::StartKeeper() {
  if (options_.server.plain) return;
  const TlsOptions& tls = options_.server.tls;
  KeeperOptions keeper;
  if (tls.certificate_file == options_.state / "server.crt") {
    keeper.renew = [this] {
      return EnsureServerCertificate(options_.state, CertificateHosts(), options_.certificate_seconds);
    };
  }
  keeper.files = {tls.certificate_file, tls.key_file};
  if (!tls.client_ca_file.empty()) keeper.files.push_back(tls.client_ca_file);
  keeper.reload = [this] { return server_->ReloadCertificate(); };
  keeper.interval = options_.certificate_interval;
  keeper.warn = options_.warn;
  keeper_ = std::make_unique<CertificateKeeper>(std::move(keeper));
}

PlanBeside Service::PlanFor(LoopOptions loop) const {
  const uint64_t connections = HttpServer::PlannedBytes(options_.server);
  // Tokens as a tree, all grammars, and an automaton for each request that runs.
  const uint64_t shared = api_->vocabulary->bytes() + grammar::kMaxProgramBytes;
  return [loop = std::move(loop), connections, shared](const ModelConfig& config, const StepLimits& limits, int threads,
                                               MemoryPlan& plan) {
    plan.requests = EngineLoop::PlannedBytes(config, limits, threads, loop) + shared +
                    static_cast<uint64_t>(loop.max_running) *
                        grammar::GrammarConstraint::PlannedBytes(config.vocab_size);
    plan.connections = connections;
  };
}

Status Service::Serve(std::unique_ptr<Engine> engine, LoopOptions loop, SamplingParams defaults) {
  HADAL_CHECK(!serving_, "Serve was called twice");
  const uint64_t bytes = engine->weights().report.bytes_read;
  metrics_->SetEngine(InfoOf(*engine, options_.memory_bytes_per_second));
  loop.on_step = [this](const StepRecord& step) { metrics_->ObserveStep(step); };
  ASSIGN_OR_RETURN(loop_, EngineLoop::Start(std::move(engine), loop));
  backend_ = std::make_unique<api::LoopBackend>(
      *loop_, [this](GenerationRequest request) { return metrics_->Watch(std::move(request)); });
  api_->backend = backend_.get();
  api_->context = loop_->context();
  api_->defaults = defaults;
  api_->run_elsewhere = [this](std::function<void()> task) { return tasks_->Submit(std::move(task)); };
  api_->responses = server_->responses();
  api_->on_usage = [this](const Identity* identity, const Usage& usage) {
    if (identity) access_->quotas().Record(*identity, usage.prompt + usage.generated);
  };
  api_->on_finish = [this](std::string_view reason) { metrics_->CountFinish(reason); };
  for (Route& route : ApiRoutes()) handlers_.push_back(std::move(route.handler));
  readiness_.Loaded(bytes);
  serving_ = true;
  return {};
}

void Service::Drain(std::chrono::milliseconds limit) {
  using std::chrono::milliseconds, std::chrono::steady_clock;
  const auto end = steady_clock::now() + limit;
  readiness_.Drain();
  if (serving_) loop_->Drain(limit);
  // Responses whose requests have ended may still be on their way to slow readers.
  const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now());
  server_->Stop(hurried_ ? kCloseTime : std::max<milliseconds>(left, kCloseTime));
}

void Service::Hurry() {
  hurried_ = true;
  if (serving_) loop_->Drain(std::chrono::milliseconds(0));
}

Status Service::ReloadCertificate() {
  if (!keeper_) return FailedPrecondition("the service has no certificate: it speaks plain HTTP");
  return keeper_->Reload();
}

}  // namespace hadal
