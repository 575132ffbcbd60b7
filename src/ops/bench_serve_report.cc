#include "ops/bench_serve_report.h"

#include <nlohmann/json.hpp>

namespace hadal {
namespace {

using Json = nlohmann::ordered_json;

Json SummaryJson(const LatencyHistogram& histogram) {
  const LatencySummary s = histogram.Summary();
  return {{"count", s.count},   {"mean", s.mean * 1e3}, {"p50", s.p50 * 1e3}, {"p90", s.p90 * 1e3},
          {"p95", s.p95 * 1e3}, {"p99", s.p99 * 1e3},   {"max", s.max * 1e3}};
}

Json PointJson(const ServePoint& point, const Slo& slo) {
  Json json;
  if (point.concurrency > 0) json["concurrency"] = point.concurrency;
  if (point.rate > 0) json["rate"] = point.rate;
  json["seconds"] = point.seconds;
  json["requests"] = {{"sent", point.sent},
                      {"succeeded", point.succeeded},
                      {"failed", point.sent - point.succeeded - point.stopped},
                      {"stopped", point.stopped},
                      {"answers_shorter_than_asked", point.answers_cut}};
  json["throughput"] = {{"requests", point.PerSecond(point.succeeded)},
                        {"input_tokens", point.PerSecond(point.input_tokens)},
                        {"output_tokens", point.PerSecond(point.output_tokens)}};
  if (slo.any())
    json["goodput"] = {
        {"requests", point.PerSecond(point.good)},
        {"share", point.sent > 0 ? static_cast<double>(point.good) / static_cast<double>(point.sent) : 0}};
  json["tokens"] = {
      {"input", point.input_tokens}, {"cached", point.cached_tokens}, {"output", point.output_tokens}};
  json["ttft_ms"] = SummaryJson(point.ttft);
  json["tpot_ms"] = SummaryJson(point.tpot);
  json["itl_ms"] = SummaryJson(point.itl);
  json["e2e_ms"] = SummaryJson(point.e2e);
  json["most_in_flight"] = point.most_in_flight;
  json["connections_opened"] = point.connections;
  if (point.rate > 0) json["sent_late_at_most_ms"] = point.latest * 1e3;
  json["errors"] = Json::object();
  for (const auto& [kind, count] : point.errors)
    json["errors"][kind] = {{"count", count}, {"example", point.examples.at(kind)}};
  return json;
}

Json LoadJson(const ServeBenchReport& report) {
  const ServeBenchOptions& o = report.options;
  const auto range = [](const LengthRange& r) { return Json{r.least, r.most}; };
  Json json{{"api", o.dialect.chat ? "chat" : "completions"},
            {"prompts", report.dialect.ids ? "token ids" : "text"},
            {"input_tokens", range(o.prompts.input)},
            {"output_tokens", range(o.prompts.output)},
            {"shared_prefix", o.prompts.shared_prefix},
            {"seed", o.prompts.seed},
            {"temperature", o.dialect.temperature},
            {"ignore_eos", report.dialect.ignore_eos},
            {"tokens_counted_by", report.dialect.counts_tokens ? "usage" : "events"}};
  if (!o.rates.empty()) json["arrivals"] = o.arrivals == ArrivalKind::kPoisson ? "poisson" : "constant";
  if (o.slo.any())
    json["slo"] = {{"ttft_ms", o.slo.ttft_ms}, {"tpot_ms", o.slo.tpot_ms}, {"e2e_ms", o.slo.e2e_ms}};
  return json;
}

/// "12345", "123.4", "12.34".
std::string Number(double value) {
  if (value >= 1000) return fmt::format("{:.0f}", value);
  return value >= 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

std::string Range(const LengthRange& range) {
  return range.least == range.most ? std::to_string(range.least)
                                   : fmt::format("{}-{}", range.least, range.most);
}

std::string Heading(const ServeBenchReport& report) {
  const ServeBenchOptions& o = report.options;
  std::string text = fmt::format("{} at {}, {}\n", o.dialect.model, report.url, report.date);
  text += fmt::format("{} of {} tokens ({}), answers of {}{}; load from {}\n",
                      o.dialect.chat ? "chats" : "prompts", Range(o.prompts.input),
                      report.dialect.ids ? "ids" : "text", Range(o.prompts.output),
                      report.dialect.ignore_eos ? "" : " at most", report.host);
  if (o.prompts.shared_prefix > 0)
    text += fmt::format("{} tokens are the same in all prompts\n", o.prompts.shared_prefix);
  if (!o.rates.empty())
    text += fmt::format("open loop, {} arrivals; times count from when a request arrived\n",
                        o.arrivals == ArrivalKind::kPoisson ? "Poisson" : "constant");
  if (!report.dialect.counts_tokens) text += "the server does not count tokens: events are counted\n";
  return text + "\n";
}

std::string Throughput(const ServeBenchReport& report) {
  const bool open = !report.options.rates.empty(), slo = report.options.slo.any();
  std::string text =
      fmt::format("{:>11} {:>8} {:>7} {:>10} {:>10} {:>10} {:>8}{}\n", open ? "rate" : "concurrency",
                  "requests", "failed", "requests/s", "in tok/s", "out tok/s", "seconds",
                  slo ? fmt::format(" {:>10} {:>6}", "good/s", "good") : "");
  for (const ServePoint& p : report.points) {
    text += fmt::format("{:>11} {:>8} {:>7} {:>10} {:>10} {:>10} {:>8.1f}",
                        open ? p.rate : static_cast<double>(p.concurrency), p.sent,
                        p.sent - p.succeeded - p.stopped, Number(p.PerSecond(p.succeeded)),
                        Number(p.PerSecond(p.input_tokens)), Number(p.PerSecond(p.output_tokens)), p.seconds);
    if (slo)
      text +=
          fmt::format(" {:>10} {:>5.1f}%", Number(p.PerSecond(p.good)),
                      p.sent > 0 ? 100.0 * static_cast<double>(p.good) / static_cast<double>(p.sent) : 0.0);
    text += "\n";
  }
  return text + "\n";
}

std::string Latencies(const ServeBenchReport& report) {
  const bool open = !report.options.rates.empty();
  std::string text =
      fmt::format("{:>11}  {:<24} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", open ? "rate" : "concurrency", "ms",
                  "mean", "p50", "p90", "p95", "p99", "max");
  for (const ServePoint& p : report.points) {
    const std::pair<const char*, const LatencyHistogram*> rows[] = {{"time to first token", &p.ttft},
                                                                    {"per token after it", &p.tpot},
                                                                    {"between events", &p.itl},
                                                                    {"whole request", &p.e2e}};
    for (const auto& [name, histogram] : rows) {
      const LatencySummary s = histogram->Summary();
      text += fmt::format("{:>11}  {:<24} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
                          open ? p.rate : static_cast<double>(p.concurrency), name, Number(s.mean * 1e3),
                          Number(s.p50 * 1e3), Number(s.p90 * 1e3), Number(s.p95 * 1e3), Number(s.p99 * 1e3),
                          Number(s.max * 1e3));
    }
  }
  return text;
}

std::string Remarks(const ServeBenchReport& report) {
  std::string text;
  for (const ServePoint& p : report.points) {
    const std::string name =
        p.rate > 0 ? fmt::format("rate {:g}", p.rate) : fmt::format("concurrency {}", p.concurrency);
    for (const auto& [kind, count] : p.errors)
      text += fmt::format("{}: {} failed, {}: {}\n", name, count, kind, p.examples.at(kind));
    if (p.cached_tokens > 0)
      text += fmt::format(
          "{}: {:.1f} % of the prompts' tokens came from the server's cache; another --seed has others\n",
          name, 100.0 * static_cast<double>(p.cached_tokens) / static_cast<double>(p.input_tokens));
    if (p.answers_cut > 0)
      text += fmt::format("{}: {} answers were shorter than asked\n", name, p.answers_cut);
    if (p.most_in_flight >= report.options.max_in_flight && p.rate > 0)
      text += fmt::format(
          "{}: {} requests at once was the limit of this program (--max-in-flight); later ones waited here\n",
          name, p.most_in_flight);
  }
  if (report.interrupted) text += "interrupted: the figures are of what was measured until then\n";
  return text.empty() ? text : "\n" + text;
}

}  // namespace

std::string ServeBenchJson(const ServeBenchReport& report) {
  Json json{{"date", report.date},      {"url", report.url},        {"model", report.options.dialect.model},
            {"load", LoadJson(report)}, {"load_host", report.host}, {"interrupted", report.interrupted}};
  json["points"] = Json::array();
  for (const ServePoint& point : report.points)
    json["points"].push_back(PointJson(point, report.options.slo));
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string ServeBenchTable(const ServeBenchReport& report) {
  return Heading(report) + Throughput(report) + Latencies(report) + Remarks(report);
}

}  // namespace hadal
