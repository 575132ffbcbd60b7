// A report of training steps as people and programs read it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "train/bench_train.h"

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;

Json LimitsJson(const MachineLimits& l) {
  return {{"f32_gflops", l.f32_gflops}, {"bf16_gflops", l.bf16_gflops}};
}

Json SpreadJson(const Spread& s) { return {{"min", s.min}, {"median", s.median}, {"max", s.max}}; }

std::string Peak(double value) { return value > 0 ? fmt::format("{:.0f}", value) : "none"; }

}  // namespace

std::string BenchTrainJson(const BenchTrainReport& r) {
  Json json{{"date", r.date},
            {"shape", r.shape},
            {"processor", r.processor},
            {"isa", r.isa},
            {"precision", r.precision},
            {"threads", r.threads},
            {"parameters", r.parameters},
            {"active_parameters", r.active_parameters},
            {"sequence_length", r.sequence_length},
            {"micro_batch_size", r.micro_batch_size},
            {"accumulation_steps", r.accumulation_steps},
            {"step_seconds", SpreadJson(r.seconds)},
            {"tokens_per_second", SpreadJson(r.tokens_per_second)},
            {"operations_per_step", r.operations},
            {"limits", LimitsJson(r.limits)},
            {"limit", r.limit},
            {"share", r.share}};
  json["limits"]["samples"] = Json::array();
  for (const MachineLimits& sample : r.limit_samples) json["limits"]["samples"].push_back(LimitsJson(sample));
  for (size_t p = 0; p < r.parts.size(); ++p) json["parts"][kPartNames[p]] = r.parts[p];
  json["planned_bytes"] = r.planned_bytes;
  json["peak_rss_bytes"] = r.peak_rss_bytes;
  json["loss"] = r.loss;
  return json.dump(2) + "\n";
}

std::string BenchTrainTable(const BenchTrainReport& r) {
  const auto mega = [](int64_t n) { return static_cast<double>(n) / 1e6; };
  const auto giga = [](auto n) { return static_cast<double>(n) / 1e9; };
  std::string text = fmt::format(
      "{}: {:.1f} M parameters, {:.1f} M active for a token\n{}, {} kernels, {} threads, {}\n", r.shape,
      mega(r.parameters), mega(r.active_parameters), r.processor, r.isa, r.threads, r.date);
  text += fmt::format(
      "{} products, {} sequences of {} tokens x {} in a step; planned {:.2f} GB, peak {:.2f} GB\n\n",
      r.precision, r.micro_batch_size, r.sequence_length, r.accumulation_steps, giga(r.planned_bytes),
      giga(r.peak_rss_bytes));
  const auto row = [&](const char* what, const std::string& value) {
    text += fmt::format("{:<16} {}\n", what, value);
  };
  const auto spread = [](const Spread& s, double unit, int digits) {
    return fmt::format("{:.{}f} ({:.{}f}-{:.{}f})", s.median * unit, digits, s.min * unit, digits,
                       s.max * unit, digits);
  };
  row("tokens/s", spread(r.tokens_per_second, 1, 0));
  row("ms a step", spread(r.seconds, 1e3, 1));
  row("GFLOP a step", fmt::format("{:.1f}", giga(r.operations)));
  row("share of peak", fmt::format("{:.1f} % of {}", 100 * r.share, r.limit));
  double sum = 0;
  for (const double seconds : r.parts) sum += seconds;
  text += fmt::format("\n{:<16} {:>8} {:>7}\n", "part", "ms", "share");
  for (size_t p = r.parts.size(); p-- > 0;)
    text +=
        fmt::format("{:<16} {:>8.1f} {:>5.1f} %\n", kPartNames[p], 1e3 * r.parts[p], 100 * r.parts[p] / sum);
  text += fmt::format(
      "\nMedian (min-max). A step is forward, backward and update; experts are router, routed and shared\n"
      "ones, head is its product with the loss, linears are those of attention and dense networks.\n\n");
  text += fmt::format("{:<16} {:>12} {:>12}\n", "limits", "f32 GFLOP/s", "bf16 GFLOP/s");
  const char* const when[] = {"before", "after"};
  for (size_t i = 0; i < r.limit_samples.size(); ++i)
    text += fmt::format("{:<16} {:>12} {:>12}\n", when[i], Peak(r.limit_samples[i].f32_gflops),
                        Peak(r.limit_samples[i].bf16_gflops));
  return text;
}

}  // namespace hadal::train
