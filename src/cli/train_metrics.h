// A training run as Prometheus sees it.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "server/http_server.h"
#include "train/run.h"

namespace hadal {

/// GET /metrics and /livez, without TLS or token and therefore on a loopback address only: for an agent on the same
/// machine. Thread-safe.
class TrainMetrics {
 public:
  static Result<std::unique_ptr<TrainMetrics>> Start(const std::string& listen);
  const std::string& address() const { return server_->address(); }

  void Plan(const train::TrainerPlan& plan);
  void Step(const train::RunProgress& progress);
  void Evaluated(const train::Evaluation& evaluation);

 private:
  TrainMetrics() = default;
  std::string Text() const;

  mutable std::mutex mutex_;
  train::RunProgress last_;
  train::Evaluation evaluation_;
  uint64_t planned_bytes_ = 0;
  double tokens_ = 0, seconds_ = 0, waited_ = 0, skipped_ = 0, reduced_ = 0;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace hadal
