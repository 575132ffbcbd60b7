// Every route of the service, and what stands before the API's: loading, then quotas.
#include "base/check.h"
#include "server/auth_types.h"
#include "server/openai/routes.h"
#include "server/service.h"

namespace hadal {
namespace {

constexpr const char* kLoadingRetrySeconds = "5";

/// The same handler on a task thread; 503 where too many wait.
Handler Elsewhere(TaskQueue& tasks, Handler handler) {
  return [&tasks, handler](const HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
    if (!tasks.Submit([handler, request, writer] { handler(request, writer); })) {
      writer->Send(503, {{"content-type", "text/plain; charset=utf-8"}, {"retry-after", "1"}},
                   "too many requests are waiting\n");
    }
  };
}

void SendApiError(ResponseWriter& writer, int status, const std::string& retry_after, const char* message,
                  const char* type, const char* code) {
  writer.Send(status, {{"content-type", "application/json"}, {"retry-after", retry_after}},
              fmt::format(R"({{"error":{{"message":"{}","type":"{}","param":null,"code":"{}"}}}})", message,
                          type, code));
}

/// What takes no request: for the API's routes while there is no engine to take them.
class NoBackend final : public api::Backend {
 public:
  Result<RequestId> Submit(GenerationRequest) override { return Unavailable("the model is not loaded yet"); }
  void Cancel(RequestId) override {}
};

}  // namespace

/// The routes of every API that serves the model, as api_ is now.
std::vector<Route> Service::ApiRoutes() const { return openai::OpenAiRoutes(*api_); }

/// The route as the server has it from the start: its handler is handlers_[index] once there is one.
Route Service::WaitingRoute(Route route, size_t index) {
  route.handler = [this, index](const HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
    if (!serving_) {
      SendApiError(*writer, 503, kLoadingRetrySeconds, "the model is being loaded; try again later",
                   "server_error", "model_loading");
      return;
    }
    int64_t retry_after = 1;
    if (request.identity && !access_->quotas().Charge(*request.identity, 1, 0, &retry_after)) {
      SendApiError(*writer, 429, std::to_string(retry_after), "the caller's quota is used up",
                   "rate_limit_error", "quota_exceeded");
      return;
    }
    handlers_[index](request, std::move(writer));
  };
  return route;
}

std::vector<Route> Service::Routes() {
  NoBackend none;
  api_->backend = &none;
  std::vector<Route> routes = ApiRoutes();
  api_->backend = nullptr;
  for (size_t i = 0; i < routes.size(); ++i) routes[i] = WaitingRoute(std::move(routes[i]), i);
  for (Route& route : access_->Routes()) {
    if (route.path == "/token") route.handler = Elsewhere(*tasks_, route.handler);
    routes.push_back(std::move(route));
  }
  routes.push_back({"GET", "/livez", "", [](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) {
                      writer->Send(
                          200, {{"content-type", "text/plain; charset=utf-8"}, {"cache-control", "no-store"}},
                          "alive\n");
                    }});
  routes.push_back({"GET", "/readyz", "", [this](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) {
                      AnswerReady(*writer);
                    }});
  routes.push_back(
      {"GET", "/metrics", std::string(kScopeMetrics),
       [this](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) { AnswerMetrics(*writer); }});
  return routes;
}

void Service::AnswerReady(ResponseWriter& writer) const {
  Readiness::Report report;
  if (serving_) {
    const LoopStats stats = loop_->stats();
    report = readiness_.Now(&stats, options_.stalled_after);
  } else {
    report = readiness_.Now(nullptr, options_.stalled_after);
  }
  HttpHeaders headers{{"content-type", "application/json"}, {"cache-control", "no-store"}};
  if (!report.ready) headers.emplace_back("retry-after", kLoadingRetrySeconds);
  writer.Send(report.ready ? 200 : 503, std::move(headers), std::move(report.json));
}

void Service::AnswerMetrics(ResponseWriter& writer) {
  std::string text = serving_ ? metrics_->Exposition(loop_->stats(), server_->stats()) : std::string();
  text += access_->Exposition();
  text += fmt::format(
      "# HELP hadal_model_loaded Whether the model is loaded.\n# TYPE hadal_model_loaded gauge\n"
      "hadal_model_loaded {}\n",
      serving_ ? 1 : 0);
  writer.Send(200, {{"content-type", "text/plain; version=0.0.4; charset=utf-8"}}, std::move(text));
}

}  // namespace hadal
