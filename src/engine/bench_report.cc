#include "engine/bench_report.h"

#include <nlohmann/json.hpp>

namespace hadal {
namespace {

using Json = nlohmann::ordered_json;

Json LimitsJson(const MachineLimits& limits) {
  return {{"read_gbps", limits.read_gbps},
          {"f32_gflops", limits.f32_gflops},
          {"bf16_gflops", limits.bf16_gflops},
          {"int8_gops", limits.int8_gops}};
}

Json SpreadJson(const Spread& spread) {
  return {{"min", spread.min}, {"median", spread.median}, {"max", spread.max}};
}

Json ResultJson(const BatchResult& r) {
  return {{"batch", r.batch},
          {"prompt", r.prompt},
          {"generate", r.generate},
          {"depth", r.depth},
          {"prefill_tps", SpreadJson(r.prefill_tps)},
          {"decode_tps", SpreadJson(r.decode_tps)},
          {"prefill_share", r.prefill_share},
          {"prefill_limit", r.prefill_limit},
          {"decode_share", r.decode_share},
          {"read_gbps", r.limits.read_gbps},
          {"bytes_per_token", r.bytes_per_token()},
          {"bytes_per_step", r.step_bytes},
          {"prefill_operations", r.prefill_operations},
          {"experts_per_layer", r.experts_per_layer}};
}

/// "1234", "123" or "12.3": three digits at least.
std::string Rate(double value) {
  return value < 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

std::string SpreadText(const Spread& s) {
  return fmt::format("{} ({}-{})", Rate(s.median), Rate(s.min), Rate(s.max));
}

std::string Peak(double value) { return value > 0 ? fmt::format("{:.0f}", value) : "none"; }

}  // namespace

std::string BenchJson(const BenchReport& report) {
  Json json{{"date", report.date},
            {"model", report.model},
            {"processor", report.processor},
            {"isa", report.isa},
            {"weights", report.weights},
            {"threads", report.threads},
            {"limits", LimitsJson(report.limits)}};
  json["limits"]["samples"] = Json::array();
  for (const MachineLimits& sample : report.limit_samples)
    json["limits"]["samples"].push_back(LimitsJson(sample));
  json["results"] = Json::array();
  for (const BatchResult& result : report.results) json["results"].push_back(ResultJson(result));
  json["load"] = {{"seconds", report.load_seconds}, {"gbps", report.load_gbps}};
  json["peak_rss_bytes"] = report.peak_rss_bytes;
  json["planned_bytes"] = report.planned_bytes;
  // A path need not be UTF-8.
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string BenchTable(const BenchReport& report) {
  std::string text = fmt::format("{}\n{}, {} kernels, {} threads, {}\n", report.model, report.processor,
                                 report.isa, report.threads, report.date);
  text += fmt::format("weights {}, loaded in {:.2f} s ({:.2f} GB/s), planned {:.2f} GB, peak {:.2f} GB\n\n",
                      report.weights, report.load_seconds, report.load_gbps,
                      static_cast<double>(report.planned_bytes) / 1e9,
                      static_cast<double>(report.peak_rss_bytes) / 1e9);
  text +=
      fmt::format("{:>5} {:>6} {:>6} {:>6} | {:>22} {:>6} | {:>22} {:>6} {:>9}\n", "batch", "depth", "prompt",
                  "decode", "prefill tokens/s", "share", "decode tokens/s", "share", "MB/token");
  for (const BatchResult& r : report.results)
    text += fmt::format("{:>5} {:>6} {:>6} {:>6} | {:>22} {:>5.1f}% | {:>22} {:>5.1f}% {:>9.1f}\n", r.batch,
                        r.depth, r.prompt, r.generate, SpreadText(r.prefill_tps), 100 * r.prefill_share,
                        SpreadText(r.decode_tps), 100 * r.decode_share, r.bytes_per_token() / 1e6);
  text += fmt::format(
      "\nRates are median (min-max). Shares are of the limits measured around each batch: prefill of {},\n"
      "decode of memory read.\n\n",
      report.results.empty() ? "" : report.results.front().prefill_limit);
  text += fmt::format("{:<16} {:>10} {:>12} {:>12} {:>12}\n", "limits", "read GB/s", "f32 GFLOP/s",
                      "bf16 GFLOP/s", "int8 GOP/s");
  for (size_t i = 0; i < report.limit_samples.size(); ++i) {
    const MachineLimits& s = report.limit_samples[i];
    const std::string when = i == 0 ? "before" : fmt::format("after batch {}", report.results[i - 1].batch);
    text += fmt::format("{:<16} {:>10.1f} {:>12} {:>12} {:>12}\n", when, s.read_gbps, Peak(s.f32_gflops),
                        Peak(s.bf16_gflops), Peak(s.int8_gops));
  }
  return text;
}

}  // namespace hadal
