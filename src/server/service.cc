#include "server/service.h"

#include "server/auth_types.h"
#include "server/certificates.h"
#include "server/openai/routes.h"

namespace hadal {
namespace {

// Argon2id takes some 50 ms and 64 MB a password: two at a time, and a queue that a flood fills quickly.
constexpr int kTaskThreads = 2;
constexpr size_t kTasksWaiting = 256;

void SendText(ResponseWriter& writer, int status, std::string text) {
  writer.Send(status, {{"content-type", "text/plain; charset=utf-8"}, {"cache-control", "no-store"}}, std::move(text));
}

/// The same handler on a task thread; 503 where too many wait.
Handler Elsewhere(TaskQueue& tasks, Handler handler) {
  return [&tasks, handler](const HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
    if (!tasks.Submit([handler, request, writer] { handler(request, writer); })) {
      writer->Send(503, {{"content-type", "text/plain; charset=utf-8"}, {"retry-after", "1"}},
                   "too many requests are waiting\n");
    }
  };
}

}  // namespace

Result<std::unique_ptr<Service>> Service::Start(std::unique_ptr<Engine> engine, ServiceOptions options) {
  std::unique_ptr<Service> service(new Service(std::move(options)));
  RETURN_IF_ERROR(service->StartLoop(std::move(engine)));
  RETURN_IF_ERROR(service->StartAccess());
  RETURN_IF_ERROR(service->StartServer());
  return service;
}

Service::~Service() {
  // Handlers use everything else, so the server goes first; requests it started end with the loop.
  server_.reset();
  tasks_.reset();
  loop_.reset();
}

Status Service::StartLoop(std::unique_ptr<Engine> engine) {
  Metrics::Info info;
  info.version = options_.version;
  info.kernels = engine->kernels().name;
  info.model = options_.model;
  info.context = engine->context();
  info.planned_bytes = engine->plan().total();
  metrics_ = std::make_unique<Metrics>(info);
  ASSIGN_OR_RETURN(loop_, EngineLoop::Start(std::move(engine), options_.loop));
  backend_ = std::make_unique<api::LoopBackend>(
      *loop_, [this](GenerationRequest request) { return metrics_->Watch(std::move(request)); });
  tasks_ = std::make_unique<TaskQueue>(kTaskThreads, kTasksWaiting);
  return {};
}

Status Service::StartAccess() {
  AccessOptions access;
  access.state = options_.state;
  access.issuer = options_.public_url.empty() ? "https://" + options_.server.listen : options_.public_url;
  ASSIGN_OR_RETURN(access_, Access::Open(std::move(access)));
  if (options_.server.plain) return {};
  std::vector<std::string> hosts = LocalHosts();
  hosts.insert(hosts.end(), options_.hosts.begin(), options_.hosts.end());
  ASSIGN_OR_RETURN(made_certificate_, EnsureServerCertificate(options_.state, hosts));
  options_.server.tls.certificate_file = options_.state / "server.crt";
  options_.server.tls.key_file = options_.state / "server.key";
  return {};
}

Status Service::StartServer() {
  ASSIGN_OR_RETURN(api_, api::MakeApiContext(options_.model_dir, *loop_, options_.model));
  api_->backend = backend_.get();
  api_->defaults = options_.defaults;
  // A task that finds the queue full runs where it is: late, but not lost.
  api_->run_elsewhere = [this](std::function<void()> task) {
    if (!tasks_->Submit(task)) task();
  };
  api_->on_usage = [this](const Identity* identity, const Usage& usage) {
    if (identity) access_->quotas().Record(*identity, usage.prompt + usage.generated);
  };
  options_.server.allowed_hosts = options_.hosts;
  options_.server.observer = [this](const AccessRecord& record) { metrics_->ObserveHttp(record); };
  ASSIGN_OR_RETURN(server_, HttpServer::Start(options_.server, Routes(), &access_->authorizer()));
  return {};
}

bool Service::Ready() const {
  if (draining_) return false;
  const LoopStats stats = loop_->stats();
  return !stats.work_pending ||
         stats.seconds_since_progress < static_cast<double>(options_.stalled_after.count());
}

std::vector<Route> Service::Routes() {
  std::vector<Route> routes;
  for (Route& route : openai::OpenAiRoutes(*api_)) {
    Handler handler = route.handler;
    route.handler = [this, handler](const HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
      int64_t retry_after = 1;
      if (request.identity) {
        const Status charged = access_->quotas().Charge(*request.identity, 1, 0, &retry_after);
        if (!charged) {
          writer->Send(429, {{"content-type", "application/json"}, {"retry-after", std::to_string(retry_after)}},
                       R"({"error":{"message":"the caller's quota is used up","type":"rate_limit_error",)"
                       R"("param":null,"code":"quota_exceeded"}})");
          return;
        }
      }
      handler(request, writer);
    };
    routes.push_back(std::move(route));
  }
  for (Route& route : access_->Routes()) {
    if (route.path == "/token") route.handler = Elsewhere(*tasks_, route.handler);
    routes.push_back(std::move(route));
  }
  routes.push_back({"GET", "/livez", "", [](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) {
                      SendText(*writer, 200, "alive\n");
                    }});
  routes.push_back({"GET", "/readyz", "", [this](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) {
                      const bool ready = Ready();
                      SendText(*writer, ready ? 200 : 503, ready ? "ready\n" : "not ready\n");
                    }});
  routes.push_back({"GET", "/metrics", std::string(kScopeMetrics),
                    [this](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) {
                      writer->Send(200, {{"content-type", "text/plain; version=0.0.4; charset=utf-8"}},
                                   metrics_->Exposition(loop_->stats(), server_->stats()));
                    }});
  return routes;
}

void Service::Drain(std::chrono::milliseconds limit) {
  draining_ = true;
  loop_->Drain(limit);
  server_->Stop(std::chrono::milliseconds(500));
}

Status Service::ReloadCertificate() {
  std::vector<std::string> hosts = LocalHosts();
  hosts.insert(hosts.end(), options_.hosts.begin(), options_.hosts.end());
  RETURN_IF_ERROR(EnsureServerCertificate(options_.state, hosts));
  return server_->ReloadCertificate();
}

}  // namespace hadal
