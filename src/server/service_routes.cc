// Every route of the service, and what stands before the API's: loading, then quotas.
#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "server/anthropic/routes.h"
#include "server/api/json_writer.h"
#include "server/auth_types.h"
#include "server/http_response.h"
#include "server/http_status.h"
#include "server/openai/routes.h"
#include "server/service.h"

namespace hadal {
namespace {

constexpr const char* kLoadingRetrySeconds = "5";

void SendRefusal(ResponseWriter& writer, RefusalBody body, int status, const std::string& retry_after,
                 std::string_view message, std::string_view code) {
  writer.Send(status, {{"content-type", "application/json"}, {"retry-after", retry_after}},
              body(status, message, code));
}

/// What takes no request: for the API's routes while there is no engine to take them.
class NoBackend final : public api::Backend {
 public:
  Result<RequestId> Submit(GenerationRequest) override { return Unavailable("the model is not loaded yet"); }
  void Cancel(RequestId) override {}
};

/// GET /routes: all that is served, from the table itself, and the scope that each needs ("": none).
Route RouteList(const std::vector<Route>& routes) {
  constexpr const char* kPath = "/routes";
  api::JsonWriter json;
  const auto add = [&](std::string_view method, std::string_view path, std::string_view scope) {
    json.BeginObject().Key("method").String(method).Key("path").String(path).Key("scope").String(scope).EndObject();
  };
  json.BeginObject().Key("routes").BeginArray();
  for (const Route& route : routes) add(route.method, route.path, route.scope);
  add("GET", kPath, kScopeAdmin);
  json.EndArray().EndObject();
  return {"GET", kPath, std::string(kScopeAdmin),
          [text = json.Take()](const HttpRequest&, const std::shared_ptr<ResponseWriter>& writer) {
            writer->Send(200, {{"content-type", "application/json"}}, text);
          }};
}

}  // namespace

/// The routes of every API that serves the model, as api_ is now.
std::vector<Route> Service::ApiRoutes() const {
  std::vector<Route> routes = openai::OpenAiRoutes(*api_);
  std::ranges::move(anthropic::AnthropicRoutes(*api_), std::back_inserter(routes));
  return routes;
}

/// The route as the server has it from the start: its handler is handlers_[index] once there is one.
Route Service::WaitingRoute(Route route, size_t index) {
  const RefusalBody refusal = route.refusal_body ? route.refusal_body : RefusalBody{ErrorBody};
  route.handler = [this, index, refusal](HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
    if (!serving_) {
      SendRefusal(*writer, refusal, 503, kLoadingRetrySeconds, "the model is being loaded; try again later",
                  "model_loading");
      return;
    }
    int64_t retry_after = 1;
    Status charged;
    if (request.identity) charged = access_->quotas().Charge(*request.identity, 1, 0, &retry_after);
    if (!charged) {
      const bool used_up = charged.error().code == Code::kResourceExhausted;
      SendRefusal(*writer, refusal, HttpStatus(charged.error().code), std::to_string(retry_after),
                  used_up ? "the caller's quota is used up" : "the caller's quota cannot be read; try again",
                  used_up ? "quota_exceeded" : "quota_unavailable");
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
  std::ranges::move(access_->Routes(), std::back_inserter(routes));
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
  routes.push_back(RouteList(routes));
  return routes;
}

LoopStats Service::LoopNow() const { return serving_ ? loop_->stats() : LoopStats{}; }

Readiness::Report Service::ReadinessNow(const LoopStats& loop) const {
  return readiness_.Now(serving_ ? &loop : nullptr, options_.stalled_after);
}

void Service::AnswerReady(ResponseWriter& writer) const {
  Readiness::Report report = ReadinessNow(LoopNow());
  HttpHeaders headers{{"content-type", "application/json"}, {"cache-control", "no-store"}};
  if (!report.ready) headers.emplace_back("retry-after", kLoadingRetrySeconds);
  writer.Send(report.ready ? 200 : 503, std::move(headers), std::move(report.json));
}

void Service::AnswerMetrics(ResponseWriter& writer) {
  if (!listening_) {
    writer.Send(503, {{"retry-after", kLoadingRetrySeconds}}, "");
    return;
  }
  Metrics::Snapshot snapshot;
  snapshot.loaded = serving_;
  snapshot.loop = LoopNow();
  snapshot.server = server_->stats();
  snapshot.ready = ReadinessNow(snapshot.loop).ready;
  snapshot.certificate_not_after = server_->certificate_not_after();
  std::error_code error;
  if (const auto space = std::filesystem::space(options_.state, error); !error) {
    snapshot.state_free_bytes = space.available;
    snapshot.state_size_bytes = space.capacity;
  }
  if (options_.log) snapshot.log_dropped = options_.log->dropped();
  writer.Send(200, {{"content-type", "text/plain; version=0.0.4; charset=utf-8"}},
              metrics_->Exposition(snapshot) + access_->Exposition());
}

}  // namespace hadal
