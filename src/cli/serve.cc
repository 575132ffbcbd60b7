// hadal serve: the OpenAI-compatible HTTPS service.
#include <csignal>
#include <memory>

#include "base/cpu_info.h"
#include "cli/access_flags.h"
#include "cli/engine_flags.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/sampling_flags.h"
#include "cli/verbs.h"
#include "server/secrets.h"
#include "server/service.h"

namespace hadal {
namespace {

constexpr const char* kFooter =
    R"(The first start makes an internal CA, a server certificate and signing keys in the state folder; clients
trust STATE/ca.crt. Every route but /livez, /readyz, /token and what OAuth publishes needs a token:
'hadal token issue --state STATE --client NAME --scope infer' prints one.

SIGTERM and SIGINT drain: running requests get --drain seconds, then the program exits 0. SIGHUP takes a renewed
certificate into use.

Example:
  hadal serve --model DIR --listen 127.0.0.1:8443
  curl --cacert STATE/ca.crt -H "Authorization: Bearer $TOKEN" https://127.0.0.1:8443/v1/models)";

struct ServeFlags {
  EngineFlags engine;
  std::string state, listen = "127.0.0.1:8443", ready_file, name, public_url;
  std::vector<std::string> hosts;
  int64_t max_running = 16, max_waiting = 256, cache_sequences = 4, drain = 30;
  double target_tpot_ms = 0;
  bool plain = false, allow_tls12 = false, no_prefix_cache = false;
};

/// The signals that the serving thread waits for; blocked before any thread starts, so that all inherit it.
sigset_t ServeSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

void PrintStarted(const Service& service, const ServeFlags& flags, const Path& state, const std::string& model) {
  const char* scheme = flags.plain ? "http" : "https";
  PrintNote(fmt::format("serving {} on {}://{}/v1", model, scheme, service.address()));
  if (!flags.plain) PrintNote(fmt::format("clients trust {}", (state / "ca.crt").string()));
  PrintNote(fmt::format("a token: hadal token issue --state {} --client NAME --scope infer", state.string()));
}

/// Waits for a signal that ends the service.
void WaitForEnd(Service& service, const sigset_t& signals) {
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) return;
    if (signal != SIGHUP) return;
    if (const Status reloaded = service.ReloadCertificate(); !reloaded) PrintError(reloaded.error().message);
  }
}

Result<int> Serve(const ServeFlags& flags) {
  ForbidCoreDumps();
  const sigset_t signals = ServeSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  ASSIGN_OR_RETURN(const Path folder, FindModelFolder(flags.engine.model));
  ASSIGN_OR_RETURN(const Path state, StateFolderOf(flags.state));
  ASSIGN_OR_RETURN(EngineOptions engine_options, ToEngineOptions(flags.engine));
  engine_options.sequences = flags.cache_sequences;
  engine_options.logit_rows = flags.max_running;
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, LoadEngine(folder, engine_options, flags.engine.verbose));

  ServiceOptions options;
  options.model_dir = folder;
  options.model = flags.name.empty() ? std::filesystem::weakly_canonical(folder).filename().string() : flags.name;
  options.version = HADAL_VERSION;
  ASSIGN_OR_RETURN(options.defaults, ToSamplingParams({}, folder, engine->config().vocab_size));
  options.state = state;
  options.hosts = flags.hosts;
  options.public_url = flags.public_url;
  options.loop.max_running = std::min(flags.max_running, engine->pass().limits().logit_rows);
  options.loop.max_waiting = flags.max_waiting;
  options.loop.prefix_cache = !flags.no_prefix_cache;
  options.loop.target_tpot_ms = flags.target_tpot_ms;
  options.server.listen = flags.listen;
  options.server.plain = flags.plain;
  if (flags.allow_tls12) options.server.tls.min_version = "1.2";
  const std::string model = options.model;
  ASSIGN_OR_RETURN(const std::unique_ptr<Service> service, Service::Start(std::move(engine), std::move(options)));
  PrintStarted(*service, flags, state, model);
  if (!flags.ready_file.empty())
    RETURN_IF_ERROR(WriteFileAtomic(flags.ready_file, service->address() + "\n"));

  WaitForEnd(*service, signals);
  PrintNote("draining");
  service->Drain(std::chrono::seconds(flags.drain));
  return kExitOk;
}

}  // namespace

void AddServe(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("serve", "OpenAI-compatible HTTPS service");
  const auto flags = std::make_shared<ServeFlags>();
  AddEngineFlags(*verb, flags->engine);
  AddStateFlag(*verb, flags->state);
  const auto add = [&](const char* name, auto& value, const char* text) {
    return verb->add_option(name, value, text)->capture_default_str();
  };
  add("--listen", flags->listen, "Numeric address and port; port 0: any free one");
  add("--ready-file", flags->ready_file, "Write the address here once requests are answered");
  add("--name", flags->name, "The model's id in the API; else the folder's name");
  add("--host", flags->hosts, "Name that clients reach the service by, for certificate and Host check; may be repeated");
  add("--public-url", flags->public_url, "What clients call the service, for OAuth's published addresses");
  add("--max-running", flags->max_running, "Requests computed together at most")->check(CLI::Range(1, 4096));
  add("--max-waiting", flags->max_waiting, "Requests that wait at most; more get 429")->check(CLI::Range(1, 1000000));
  add("--cache-sequences", flags->cache_sequences, "Full contexts that the cache has room for")->check(CLI::Range(1, 4096));
  add("--target-tpot-ms", flags->target_tpot_ms, "Milliseconds between tokens that prompts must not push beyond; 0: none")
      ->check(CLI::Range(0.0, 1e6));
  add("--drain", flags->drain, "Seconds that running requests get when the service ends")->check(CLI::Range(0, 86400));
  verb->add_flag("--no-prefix-cache", flags->no_prefix_cache, "Do not keep prompts' latents for later requests");
  verb->add_flag("--allow-tls-1.2", flags->allow_tls12, "Accept TLS 1.2 besides 1.3");
  verb->add_flag("--plain-http", flags->plain, "No TLS; only on a loopback address");
  verb->footer(kFooter);
  verb->callback([flags, &action] { action = [flags] { return Serve(*flags); }; });
}

}  // namespace hadal
