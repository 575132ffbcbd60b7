// hadal bench serve: load on any server of OpenAI's API, and what it makes of it.
#include "cli/bench_serve.h"

#include <cstdlib>
#include <memory>
#include <optional>

#include "base/progress.h"
#include "cli/endpoint_flags.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "ops/bench_serve_plot.h"
#include "ops/bench_serve_report.h"

namespace hadal {
namespace {

constexpr const char* kFooter =
    R"(A closed loop (--concurrency) keeps that many requests under way; an open loop (--rate) sends requests when
they arrive, whatever the server does, and counts their time from then. A list measures one after another.
Prompts differ from each other, so that a prefix cache does not flatter; --shared-prefix makes their
beginnings the same.

Time to first token: until the first event with text. Per token: from the first to the last event, over the
tokens between. Between events: each gap; a server may put several tokens into one event. Percentiles are
exact to 0.1 %.

The token is read from --token-file or HADAL_TOKEN. Exit code 1: some requests failed, or it was
interrupted; 2: all failed, or nothing could be measured.

Examples:
  hadal bench serve --url https://127.0.0.1:8443/v1 --ca STATE/ca.crt --token-file token \
      --model NAME --concurrency 1,2,4,8,16 --input 512 --output 128 --svg sweep.svg
  hadal bench serve --url https://127.0.0.1:8443/v1 --model NAME --rate 2,4,8 --duration 60 \
      --slo-ttft-ms 500)";

struct ServeBenchFlags {
  EndpointFlags endpoint;
  std::string input = "512", output = "128", prompts = "auto", arrivals = "poisson", json, svg;
  ServeBenchOptions options;
  bool rate_given = false;
};

Result<ServeBenchOptions> ToOptions(const ServeBenchFlags& flags) {
  ServeBenchOptions options = flags.options;
  options.dialect.model = flags.endpoint.model;
  ASSIGN_OR_RETURN(options.prompts.input, ParseLengthRange(flags.input));
  ASSIGN_OR_RETURN(options.prompts.output, ParseLengthRange(flags.output));
  if (flags.prompts == "ids") options.dialect.prompts = PromptKind::kIds;
  if (flags.prompts == "text") options.dialect.prompts = PromptKind::kText;
  if (flags.arrivals == "constant") options.arrivals = ArrivalKind::kConstant;
  if (options.requests == 0 && options.duration == 0) options.requests = 64;
  if (options.dialect.chat && flags.prompts == "ids")
    return InvalidArgument("--chat has no prompts of token ids; leave out --prompts ids");
  RETURN_IF_ERROR(CheckServeBench(options));
  for (const std::string& file : {flags.json, flags.svg})
    if (!file.empty() && file != "-") RETURN_IF_ERROR(CheckOutputFile(file));
  return options;
}

Status Write(const ServeBenchFlags& flags, const ServeBenchReport& report) {
  if (!flags.svg.empty()) RETURN_IF_ERROR(WriteFileAtomic(flags.svg, ServeBenchSvg(report)));
  if (flags.json == "-") return Print(ServeBenchJson(report));
  if (!flags.json.empty()) RETURN_IF_ERROR(WriteFileAtomic(flags.json, ServeBenchJson(report)));
  return Print(ServeBenchTable(report));
}

int ExitCodeOf(const ServeBenchReport& report) {
  int64_t sent = 0, succeeded = 0;
  for (const ServePoint& point : report.points) {
    sent += point.sent;
    succeeded += point.succeeded;
  }
  if (succeeded == 0) return kExitFailure;
  return succeeded < sent || report.interrupted ? kExitWarning : kExitOk;
}

Result<int> RunBenchServe(const ServeBenchFlags& flags) {
  ASSIGN_OR_RETURN(ServeBenchOptions options, ToOptions(flags));
  ASSIGN_OR_RETURN(Endpoint endpoint, ToEndpoint(flags.endpoint));
  InterruptGuard interrupt(/*also_terminate=*/true);
  std::optional<ProgressBar> bar;
  std::string shown;
  options.progress = [&](const std::string& stage, uint64_t done, uint64_t total) {
    if (stage != shown) {
      bar.reset();
      bar.emplace(stage, /*bytes=*/false);
      shown = stage;
    }
    bar->Update(done, total);
    return !interrupt.Requested();
  };
  Result<ServeBenchReport> report = BenchServe(std::move(endpoint), options);
  bar.reset();
  if (!report) return tl::unexpected(std::move(report).error());
  if (report->points.empty()) return MakeError(Code::kCancelled, "interrupted before anything was measured");
  RETURN_IF_ERROR(Write(flags, *report));
  return ExitCodeOf(*report);
}

void AddLoadFlags(CLI::App& verb, ServeBenchFlags& flags) {
  ServeBenchOptions& o = flags.options;
  verb.add_flag("--chat", o.dialect.chat, "Ask /chat/completions instead of /completions");
  CLI::Option* concurrency = verb.add_option("--concurrency", o.concurrency,
                                             "Requests at once; several are measured one after another")
                                 ->delimiter(',')
                                 ->capture_default_str();
  verb.add_option("--rate", o.rates, "Open loop: requests a second; several are measured one after another")
      ->delimiter(',')
      ->excludes(concurrency);
  AddChoice(verb, "--arrivals", flags.arrivals, {"poisson", "constant"},
            "When the requests of an open loop come");
  AddNumber(verb, "--max-in-flight", o.max_in_flight, 1, 65536, "Requests at once in an open loop at most");
  AddNumber(verb, "--requests", o.requests, 0, 1e9, "Requests of each point; 0: as --duration says, or 64");
  AddNumber(verb, "--duration", o.duration, 0, 1e6,
            "Seconds in which each point sends requests; 0: no limit");
  AddNumber(verb, "--warmup", o.warmup, -1, 1e6,
            "Requests before each point that do not count; -1: as many as at once");
  AddNumber(verb, "--timeout", o.timeout, 0.001, 1e6, "Seconds that a request may take");
}

void AddPromptFlags(CLI::App& verb, ServeBenchFlags& flags) {
  ServeBenchOptions& o = flags.options;
  const auto add = [&](const char* name, auto& value, const char* text) {
    return verb.add_option(name, value, text)->capture_default_str()->type_name("N or N-M");
  };
  add("--input", flags.input, "Tokens of a prompt: a number, or a range to draw from");
  add("--output", flags.output, "Tokens of an answer: a number, or a range to draw from");
  AddNumber(verb, "--shared-prefix", o.prompts.shared_prefix, 0, 1 << 20,
            "First tokens that all prompts share");
  AddChoice(verb, "--prompts", flags.prompts, {"auto", "ids", "text"},
            "Prompts as token ids, as text, or as ids where the server takes them");
  AddNumber(verb, "--temperature", o.dialect.temperature, 0, 100, "Temperature of the answers");
  AddNumber(verb, "--seed", o.prompts.seed, 0, 1e15, "Of prompts, lengths and arrivals");
}

}  // namespace

void AddBenchServe(CLI::App& bench, Action& action) {
  CLI::App* verb = bench.add_subcommand("serve", "Throughput and latencies of a server under load");
  const auto flags = std::make_shared<ServeBenchFlags>();
  AddEndpointFlags(*verb, flags->endpoint);
  AddLoadFlags(*verb, *flags);
  AddPromptFlags(*verb, *flags);
  Slo& slo = flags->options.slo;
  AddNumber(*verb, "--slo-ttft-ms", slo.ttft_ms, 0, 1e9,
            "A good request has its first token in that time; 0: any");
  AddNumber(*verb, "--slo-tpot-ms", slo.tpot_ms, 0, 1e9, "and takes that time a token");
  AddNumber(*verb, "--slo-e2e-ms", slo.e2e_ms, 0, 1e9, "and that time in all");
  verb->add_option("--json", flags->json, "Write one JSON object there; - for standard output")
      ->type_name("FILE");
  verb->add_option("--svg", flags->svg, "Draw throughput and latencies there")->type_name("FILE");
  verb->footer(kFooter);
  verb->callback([flags, &action] { action = [flags] { return RunBenchServe(*flags); }; });
}

}  // namespace hadal
