#include "ops/soak.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ops/metrics_text.h"
#include "ops/soak_visit.h"

namespace hadal {
namespace {

using Clock = LoadClient::Clock;

constexpr double kMostWarmupSeconds = 300;
constexpr auto kTick = std::chrono::milliseconds(10);
constexpr double kIdleSeconds = 60;  // that a server gets to end what was left behind
constexpr size_t kMostSamples = 2000;
constexpr size_t kMostExamples = 20;
constexpr double kFlatBytes = 8 << 20;  // what memory may rise by: that, or
constexpr double kFlatShare = 0.02;     // that share of it

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

/// What the server holds.
struct Holdings {
  int64_t descriptors = -1;  // -1: not known
  double bytes = -1;         // anonymous memory
};

Holdings OfProcess(int64_t process) {
  Holdings held;
  std::error_code error;
  const std::filesystem::path folder = "/proc/" + std::to_string(process);
  int64_t count = 0;
  for (std::filesystem::directory_iterator at(folder / "fd", error), end; !error && at != end;
       at.increment(error))
    ++count;
  if (!error) held.descriptors = count;
  std::ifstream status(folder / "status");
  for (std::string word; status >> word;) {
    if (word != "RssAnon:") continue;
    double kilobytes = 0;
    status >> kilobytes;
    held.bytes = kilobytes * 1024;
  }
  return held;
}

class SoakRun {
 public:
  SoakRun(const Endpoint& endpoint, const SoakOptions& options, SoakReport& report)
      : endpoint_(endpoint), options_(options), report_(report) {}
  Status Run();

 private:
  Status Reference(std::string& answer);
  Status Load(const std::string& stage, double seconds, bool sample);
  void Take(const VisitOutcome& outcome, bool counts);
  MetricsText Metrics();
  Holdings Held(const MetricsText& metrics) const;
  MetricsText WaitUntilIdle();
  void Check(const std::string& name, bool passed, std::string found) {
    report_.checks.push_back({name, passed, true, std::move(found)});
  }
  void CheckEnd(const MetricsText& before, const MetricsText& after, Holdings base);
  void CheckCounts(const MetricsText& before, const MetricsText& after);
  void CheckMemory(Holdings base, Holdings end);

  const Endpoint& endpoint_;
  const SoakOptions& options_;
  SoakReport& report_;
  std::unique_ptr<LoadClient> watcher_;
  uint64_t next_visit_ = 0;
  int64_t whole_ = 0;                               // answers that came whole, after the warm-up
  int64_t asked_ = 0;                               // streams that were asked for
  std::vector<std::pair<double, double>> samples_;  // seconds, bytes
};

/// The first request of all: greedy, whole.
Status SoakRun::Reference(std::string& answer) {
  ASSIGN_OR_RETURN(const std::unique_ptr<LoadClient> client, LoadClient::Create(endpoint_, 1));
  OutgoingRequest request;
  request.path = "/completions";
  request.body = fmt::format(
      "{{\"model\":\"{}\",\"prompt\":\"the sea is deep and "
      "the\",\"max_tokens\":32,\"temperature\":0,\"ignore_eos\":true}}",
      options_.model);
  const WholeResponse response = Exchange(*client, std::move(request));
  if (!response.end.failure.empty()) return tl::unexpected(FailureOf(client->endpoint(), response.end));
  if (response.end.status == 401 || response.end.status == 403)
    return PermissionDenied(
        "{}: the server refuses the token ({}); give one with --token-file or HADAL_TOKEN", endpoint_.url,
        RefusalText(response.body));
  const nlohmann::json body = nlohmann::json::parse(response.body, nullptr, false);
  if (response.end.status != 200 || !body.is_object() || !body.contains("choices"))
    return Unavailable("{}: a plain request is answered with {} ({})", endpoint_.url, response.end.status,
                       RefusalText(response.body));
  answer = body["choices"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return {};
}

void SoakRun::Take(const VisitOutcome& outcome, bool counts) {
  const char* name = VisitName(outcome.kind);
  ++report_.visits[name];
  const bool stream = outcome.kind <= VisitKind::kStalls;
  if (counts) {
    asked_ += stream;
    whole_ += outcome.succeeded;
  }
  if (outcome.expected) return;
  ++report_.unexpected[name];
  if (report_.examples.size() < kMostExamples)
    report_.examples.push_back(fmt::format("{}: {}", name, outcome.what));
}

/// Visitors for `seconds`; then those who are there end their visits, and all connections are closed.
Status SoakRun::Load(const std::string& stage, double seconds, bool sample) {
  ASSIGN_OR_RETURN(const std::unique_ptr<LoadClient> client,
                   LoadClient::Create(endpoint_, static_cast<int>(options_.at_once)));
  std::vector<std::unique_ptr<Visitor>> visitors;
  for (int64_t i = 0; i < options_.at_once; ++i) {
    visitors.push_back(std::make_unique<Visitor>(*client, options_.model, options_.seed));
    visitors.back()->on_end = [this, sample](const VisitOutcome& outcome) { Take(outcome, sample); };
  }
  const Clock::time_point start = Clock::now();
  double next_sample = 0;
  while (client->under_way() > 0 || (Seconds(Clock::now() - start) < seconds && !report_.interrupted)) {
    const Clock::time_point now = Clock::now();
    const double passed = Seconds(now - start);
    for (const auto& visitor : visitors) {
      visitor->Act(now);
      if (!visitor->under_way() && passed < seconds && !report_.interrupted) visitor->Start(next_visit_++);
    }
    client->Run(now + kTick);
    if (sample && passed >= next_sample && samples_.size() < kMostSamples) {
      next_sample = passed + std::max(seconds / static_cast<double>(kMostSamples), 0.1);
      const Holdings held = Held(options_.process > 0 ? MetricsText() : Metrics());
      if (held.bytes >= 0) samples_.emplace_back(passed, held.bytes);
    }
    const double shown = std::min(passed, seconds) * 1000;
    if (!options_.progress || report_.interrupted ||
        options_.progress(stage, static_cast<uint64_t>(shown), static_cast<uint64_t>(seconds * 1000)))
      continue;
    report_.interrupted = true;
    for (const auto& visitor : visitors) visitor->Stop();
  }
  return {};
}

MetricsText SoakRun::Metrics() {
  OutgoingRequest request;
  request.method = "GET";
  request.path = "/metrics";
  const WholeResponse response = Exchange(*watcher_, std::move(request));
  return response.end.status == 200 ? MetricsText(response.body) : MetricsText();
}

Holdings SoakRun::Held(const MetricsText& metrics) const {
  if (options_.process > 0) return OfProcess(options_.process);
  Holdings held;
  held.bytes = metrics.Sum("process_resident_memory_bytes").value_or(-1);
  held.descriptors = static_cast<int64_t>(metrics.Sum("process_open_fds").value_or(-1));
  return held;
}

/// Asks until nothing is under way but the question itself; the last answer.
MetricsText SoakRun::WaitUntilIdle() {
  const Clock::time_point start = Clock::now();
  for (;;) {
    MetricsText metrics = Metrics();
    const double busy = metrics.Sum("hadal_requests_running").value_or(1) +
                        metrics.Sum("hadal_requests_waiting").value_or(1) +
                        std::max(metrics.Sum("hadal_http_connections").value_or(2) - 1, 0.0);
    if (busy == 0 || Seconds(Clock::now() - start) > kIdleSeconds) return metrics;
    watcher_->Run(Clock::now() + std::chrono::milliseconds(50));
  }
}

void SoakRun::CheckCounts(const MetricsText& before, const MetricsText& after) {
  const auto difference = [&](std::string_view part) {
    return after.Sum("hadal_requests_finished_total", part).value_or(0) -
           before.Sum("hadal_requests_finished_total", part).value_or(0);
  };
  const double finished = difference(""), failed = difference("error");
  const double served = difference("stop") + difference("length");
  Check("the server's count of requests agrees",
        failed == 0 && served >= static_cast<double>(whole_) && finished <= static_cast<double>(asked_),
        fmt::format("{} asked, {} answered whole; the server finished {}, {} of them whole, {} with an error",
                    asked_, whole_, finished, served, failed));
}

void SoakRun::CheckMemory(Holdings base, Holdings end) {
  if (base.bytes < 0 || end.bytes < 0 || samples_.size() < 2) {
    report_.checks.push_back({"memory is flat", false, false, "the server does not say how much it has"});
    return;
  }
  const double span = samples_.back().first - samples_.front().first, rise = SlopeOf(samples_) * span;
  const double limit = std::max(kFlatBytes, kFlatShare * base.bytes), left = end.bytes - base.bytes;
  Check("memory is flat", rise <= limit && left <= limit,
        fmt::format("{:.1f} MB after the warm-up, {:+.2f} MB by the line through {} samples, {:+.2f} MB left "
                    "when idle; "
                    "{:.1f} MB are allowed",
                    base.bytes / 1e6, rise / 1e6, samples_.size(), left / 1e6, limit / 1e6));
}

void SoakRun::CheckEnd(const MetricsText& before, const MetricsText& after, Holdings base) {
  const auto value = [&](const char* name) { return after.Sum(name).value_or(-1); };
  Check("the server is alive", !after.empty(), after.empty() ? "it does not answer /metrics" : "it answers");
  const double running = value("hadal_requests_running"), waiting = value("hadal_requests_waiting");
  const double open = value("hadal_http_requests_in_flight"), connections = value("hadal_http_connections");
  Check(
      "nothing is under way", running == 0 && waiting == 0 && open <= 1 && connections == 1,
      fmt::format("{} running, {} waiting, {} responses and {} connections open, this question's among them",
                  running, waiting, open, connections));
  const double total = value("hadal_cache_blocks"), free = value("hadal_cache_blocks_free");
  const double kept = value("hadal_cache_blocks_prefix");
  Check("no block of the cache leaks", total > 0 && free + kept == total,
        fmt::format("{} free and {} kept for their prompts, of {}", free, kept, total));
  CheckCounts(before, after);
  const Holdings end = Held(after);
  if (base.descriptors < 0 || end.descriptors < 0)
    report_.checks.push_back(
        {"no descriptor leaks", false, false, "the server does not say how many it has"});
  else
    Check("no descriptor leaks", end.descriptors <= base.descriptors,
          fmt::format("{} after the warm-up, {} at the end", base.descriptors, end.descriptors));
  CheckMemory(base, end);
}

Status SoakRun::Run() {
  ASSIGN_OR_RETURN(watcher_, LoadClient::Create(options_.metrics, 1));
  if (Metrics().empty())
    return PermissionDenied(
        "{}/metrics: not readable; give a token of scope metrics with --metrics-token-file",
        watcher_->endpoint().url);
  std::string first, last;
  RETURN_IF_ERROR(Reference(first));
  const double warmup = std::min(options_.seconds / 4, kMostWarmupSeconds);
  RETURN_IF_ERROR(Load("warm-up", warmup, /*sample=*/false));
  const MetricsText before = WaitUntilIdle();
  const Holdings base = Held(before);
  if (!report_.interrupted) RETURN_IF_ERROR(Load("soak", options_.seconds - warmup, /*sample=*/true));
  const MetricsText after = WaitUntilIdle();
  int64_t unexpected = 0, visits = 0;
  for (const auto& [kind, count] : report_.unexpected) unexpected += count;
  for (const auto& [kind, count] : report_.visits) visits += count;
  Check("every visit ended as it must", unexpected == 0 && static_cast<uint64_t>(visits) == next_visit_,
        fmt::format("{} visits began, {} ended, {} of them otherwise", next_visit_, visits, unexpected));
  CheckEnd(before, after, base);
  const Status again = Reference(last);
  Check("the first answer again", again && first == last,
        !again          ? again.error().message
        : first == last ? "the same"
                        : "another answer");
  return {};
}

}  // namespace

bool SoakReport::passed() const {
  return std::ranges::all_of(checks, [](const SoakCheck& check) { return check.passed || !check.checked; });
}

double SlopeOf(const std::vector<std::pair<double, double>>& samples) {
  double mean_x = 0, mean_y = 0, above = 0, below = 0;
  for (const auto& [x, y] : samples) {
    mean_x += x / static_cast<double>(samples.size());
    mean_y += y / static_cast<double>(samples.size());
  }
  for (const auto& [x, y] : samples) {
    above += (x - mean_x) * (y - mean_y);
    below += (x - mean_x) * (x - mean_x);
  }
  return below > 0 ? above / below : 0;
}

Result<SoakReport> Soak(Endpoint endpoint, const SoakOptions& options) {
  if (options.at_once < 1 || options.at_once > 4096)
    return InvalidArgument("{} visitors at once are not from 1 to 4096", options.at_once);
  if (!(options.seconds >= 1 && options.seconds <= 1e6))
    return InvalidArgument("{} s are not from 1 to 1000000", options.seconds);
  if (options.model.find_first_of("\"\\") != std::string::npos || options.model.empty())
    return InvalidArgument("'{}' is no name of a model", options.model);
  SoakReport report;
  report.url = endpoint.url;
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::tm parts = {};
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
  report.date = text;
  const Clock::time_point start = Clock::now();
  SoakRun run(endpoint, options, report);
  RETURN_IF_ERROR(run.Run());
  report.seconds = Seconds(Clock::now() - start);
  return report;
}

std::string SoakText(const SoakReport& report) {
  std::string text = fmt::format("{}, {}, {:.0f} s\n\n{:<14}{:>9}{:>12}\n", report.url, report.date,
                                 report.seconds, "visits", "ended", "otherwise");
  for (const auto& [kind, count] : report.visits) {
    const auto found = report.unexpected.find(kind);
    text +=
        fmt::format("{:<14}{:>9}{:>12}\n", kind, count, found == report.unexpected.end() ? 0 : found->second);
  }
  for (const std::string& example : report.examples) text += "  " + example + "\n";
  text += "\n";
  for (const SoakCheck& check : report.checks)
    text += fmt::format("{:<8} {}: {}\n",
                        !check.checked ? "unknown"
                        : check.passed ? "ok"
                                       : "FAILED",
                        check.name, check.found);
  if (report.interrupted) text += "interrupted: the checks are of what was until then\n";
  return text;
}

std::string SoakJson(const SoakReport& report) {
  using Json = nlohmann::ordered_json;
  Json json{{"url", report.url},
            {"date", report.date},
            {"seconds", report.seconds},
            {"passed", report.passed()},
            {"interrupted", report.interrupted},
            {"visits", report.visits},
            {"unexpected", report.unexpected},
            {"examples", report.examples}};
  json["checks"] = Json::array();
  for (const SoakCheck& check : report.checks)
    json["checks"].push_back(
        {{"name", check.name}, {"checked", check.checked}, {"passed", check.passed}, {"found", check.found}});
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace hadal
