// hadal bench soak: visitors of every kind for as long as is wanted, then the question whether the server is
// as it was.
#include <memory>
#include <optional>

#include "base/progress.h"
#include "cli/bench_serve.h"
#include "cli/endpoint_flags.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "ops/soak.h"

namespace hadal {
namespace {

constexpr const char* kFooter =
    R"(Visitors read whole answers, leave in mid-stream, read slowly or not at all, send broken JSON, wrong fields,
bodies that are too large, wrong tokens and bytes that are no TLS. Afterwards nothing may run, wait or leak,
the memory must be flat, and the first answer must come again. The server's figures are read from its
/metrics; with --pid (a server on this machine) descriptors and memory come from /proc. Exit code 2: a check
failed; 1: interrupted.

Example:
  hadal bench soak --url https://127.0.0.1:8443/v1 --ca STATE/ca.crt --model NAME \
      --token-file token --metrics-token-file metrics-token --duration 3600 --pid 1234)";

struct SoakFlags {
  EndpointFlags endpoint;
  std::string metrics_token_file;
  SoakOptions options;
  bool json = false;
};

Result<int> RunSoak(const SoakFlags& flags) {
  SoakOptions options = flags.options;
  options.model = flags.endpoint.model;
  ASSIGN_OR_RETURN(Endpoint endpoint, ToEndpoint(flags.endpoint));
  options.metrics = endpoint;
  while (options.metrics.url.ends_with('/')) options.metrics.url.pop_back();
  if (options.metrics.url.ends_with("/v1")) options.metrics.url.resize(options.metrics.url.size() - 3);
  if (!flags.metrics_token_file.empty()) {
    ASSIGN_OR_RETURN(options.metrics.token, ReadToken(flags.metrics_token_file));
  }
  InterruptGuard interrupt(/*also_terminate=*/true);
  std::optional<ProgressBar> bar;
  std::string shown;
  options.progress = [&](const std::string& stage, uint64_t done, uint64_t total) {
    if (stage != shown) {
      bar.reset();
      bar.emplace(stage + ", ms", /*bytes=*/false);
      shown = stage;
    }
    bar->Update(done, total);
    return !interrupt.Requested();
  };
  const Result<SoakReport> report = Soak(std::move(endpoint), options);
  bar.reset();
  if (!report) return tl::unexpected(report.error());
  RETURN_IF_ERROR(Print(flags.json ? SoakJson(*report) : SoakText(*report)));
  if (!report->passed()) return kExitFailure;
  return report->interrupted ? kExitWarning : kExitOk;
}

}  // namespace

void AddBenchSoak(CLI::App& bench, Action& action) {
  CLI::App* verb =
      bench.add_subcommand("soak", "Visitors of every kind, then whether the server is as it was");
  const auto flags = std::make_shared<SoakFlags>();
  AddEndpointFlags(*verb, flags->endpoint);
  verb->add_option("--metrics-token-file", flags->metrics_token_file, "File with a token of scope metrics")
      ->type_name("FILE");
  AddNumber(*verb, "--duration", flags->options.seconds, 1, 1e6,
            "Seconds; the first quarter, at most 300, warms up");
  AddNumber(*verb, "--visitors", flags->options.at_once, 1, 4096, "Visitors at once");
  AddNumber(*verb, "--seed", flags->options.seed, 0, 1e15, "What they are and want");
  AddNumber(*verb, "--pid", flags->options.process, 0, 4194304,
            "The server's process on this machine; 0: ask the server");
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(kFooter);
  verb->callback([flags, &action] { action = [flags] { return RunSoak(*flags); }; });
}

}  // namespace hadal
