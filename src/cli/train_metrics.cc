#include "cli/train_metrics.h"

namespace hadal {

Result<std::unique_ptr<TrainMetrics>> TrainMetrics::Start(const std::string& listen) {
  std::unique_ptr<TrainMetrics> metrics(new TrainMetrics);
  ServerOptions options;
  options.listen = listen;
  options.plain = true;
  options.io_threads = 1;
  options.max_connections = 16;
  std::vector<Route> routes;
  const auto add = [&](const char* path, auto text) {
    routes.push_back({"GET", path, std::string(kPublicScope),
                      [text](const HttpRequest&, const std::shared_ptr<ResponseWriter>& writer) {
                        writer->Send(200, {{"content-type", "text/plain; version=0.0.4; charset=utf-8"}}, text());
                      }});
  };
  TrainMetrics* self = metrics.get();
  add("/metrics", [self] { return self->Text(); });
  add("/livez", [] { return std::string("ok\n"); });
  ASSIGN_OR_RETURN(metrics->server_, HttpServer::Start(options, std::move(routes), nullptr));
  return metrics;
}

void TrainMetrics::Plan(const train::TrainerPlan& plan) {
  const std::lock_guard lock(mutex_);
  planned_bytes_ = plan.total();
}

void TrainMetrics::Step(const train::RunProgress& p) {
  const std::lock_guard lock(mutex_);
  last_ = p;
  tokens_ += static_cast<double>(p.report.tokens);
  seconds_ += p.seconds;
  waited_ += p.waited_seconds;
  skipped_ += p.report.skipped;
  reduced_ += static_cast<double>(p.report.bytes_reduced);
}

void TrainMetrics::Evaluated(const train::Evaluation& evaluation) {
  const std::lock_guard lock(mutex_);
  evaluation_ = evaluation;
}

std::string TrainMetrics::Text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  const auto add = [&](const char* name, const char* type, const char* help, double value) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n{} {}\n", name, help, name, type, name, value);
  };
  const train::StepReport& r = last_.report;
  add("hadal_train_steps_total", "counter", "Updates tried.", static_cast<double>(r.step));
  add("hadal_train_steps_planned", "gauge", "Updates of the whole run.", static_cast<double>(last_.total_steps));
  add("hadal_train_skipped_steps_total", "counter", "Updates skipped for an overflow.", skipped_);
  add("hadal_train_tokens_total", "counter", "Tokens of these updates, all ranks.", tokens_);
  add("hadal_train_seconds_total", "counter", "Time spent in updates.", seconds_);
  add("hadal_train_data_wait_seconds_total", "counter", "Of this, time spent waiting for data.", waited_);
  add("hadal_train_gradient_bytes_total", "counter", "Gradients sent between ranks.", reduced_);
  add("hadal_train_loss", "gauge", "Cross-entropy of the last update, nats a token.", r.loss);
  add("hadal_train_mtp_loss", "gauge", "The prediction layer's cross-entropy.", r.mtp_loss);
  add("hadal_train_gradient_norm", "gauge", "Of the last update, before clipping.", r.gradient_norm);
  add("hadal_train_learning_rate", "gauge", "Of the last update.", r.learning_rate);
  add("hadal_train_loss_scale", "gauge", "FP16's; 1 otherwise.", r.loss_scale);
  add("hadal_train_dropped_share", "gauge", "Routed copies beyond an expert's capacity.", r.dropped_share);
  add("hadal_train_load_imbalance", "gauge", "The busiest expert's tokens over the mean, worst layer.", r.load_imbalance);
  add("hadal_train_tokens_per_second", "gauge", "Of the last update.", last_.tokens_per_second);
  add("hadal_train_peak_share", "gauge", "Arithmetic over the measured peak; 0: not measured.", last_.peak_share);
  add("hadal_train_held_out_loss", "gauge", "Of the last evaluation.", evaluation_.loss);
  add("hadal_train_held_out_step", "gauge", "When it was made.", static_cast<double>(evaluation_.step));
  add("hadal_train_planned_memory_bytes", "gauge", "Of this rank.", static_cast<double>(planned_bytes_));
  return text;
}

}  // namespace hadal
