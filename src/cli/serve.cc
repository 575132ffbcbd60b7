// hadal serve: the OpenAI-compatible HTTPS service.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <thread>

#include "base/cpu_info.h"
#include "cli/access_flags.h"
#include "cli/engine_flags.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/sampling_flags.h"
#include "cli/serve_access.h"
#include "cli/serve_log.h"
#include "cli/settings.h"
#include "cli/verbs.h"
#include "server/secrets.h"
#include "server/service.h"

namespace hadal {
namespace {

constexpr const char* kFooter =
    R"(The first start makes an internal CA, a server certificate and signing keys in the state folder; clients
trust STATE/ca.crt. Every route but /livez, /readyz, /token and what OAuth publishes needs a token:
'hadal token issue --state STATE --client NAME --scope infer' prints one.

It listens before the model is loaded: /livez says 200, /readyz 503 and how far the loading is, the API 503. SIGTERM
and SIGINT drain: running requests get --drain seconds, then the program exits 0; a second signal cancels them
at once, and the exit code is 1. While the model is loading they end it at once, with exit code 0. Certificates are renewed, and new files taken into use, without a signal and
without closing a connection; SIGHUP does it at once.

Example:
  hadal serve --model DIR --listen 127.0.0.1:8443
  curl --cacert STATE/ca.crt -H "Authorization: Bearer $TOKEN" https://127.0.0.1:8443/v1/models)";

struct ServeFlags {
  EngineFlags engine;
  ServeAccessFlags access;
  ServeLogFlags log;
  std::string state, listen = "127.0.0.1:8443", ready_file, name, public_url;
  std::vector<std::string> hosts;
  int64_t max_running = 16, max_waiting = 256, cache_sequences = 0, cache_tokens = 0, max_connections = 4096, drain = 30;
  std::string speculative = "off";
  int64_t speculative_tokens = 1;
  double target_tpot_ms = 0;
  bool plain = false, allow_tls12 = false, prefix_cache = true;
};

// Requests under way beside those of the engine: probes, tokens, pages of the console.
constexpr int64_t kOtherRequests = 256;

/// How the loading thread says that it has ended; from elsewhere it means nothing.
constexpr int kLoadedSignal = SIGUSR1;

/// The signals that the serving thread waits for; blocked before any thread starts, so that all inherit it.
sigset_t ServeSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, kLoadedSignal}) sigaddset(&set, signal);
  return set;
}

void SayStarted(Log& log, const Service& service, const ServeFlags& flags, const Path& state, const std::string& model) {
  const char* scheme = flags.plain ? "http" : "https";
  Say(log, fmt::format("serving {} on {}://{}/v1", model, scheme, service.address()));
  if (!flags.plain && flags.access.certificate.empty())
    Say(log, fmt::format("clients trust {}", (state / "ca.crt").string()));
  Say(log, fmt::format("a token: hadal token issue --state {} --client NAME --scope infer", state.string()));
}

/// Waits for a signal that ends the service, or, if there is `loaded`, until that is true (then false is the answer).
bool WaitForEnd(Service& service, const sigset_t& signals, Log& log, const std::atomic<bool>* loaded) {
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) return true;
    if (signal == SIGINT || signal == SIGTERM) return true;
    if (loaded != nullptr && *loaded) return false;
    if (signal != SIGHUP) continue;
    if (const Status reloaded = service.ReloadCertificate(); !reloaded)
      Say(log, reloaded.error().message, LogLevel::kError);
  }
}

ServiceOptions ToServiceOptions(const ServeFlags& flags, const Path& folder, const Path& state, Log& log) {
  ServiceOptions options;
  options.model_dir = folder;
  options.model = flags.name.empty() ? std::filesystem::weakly_canonical(folder).filename().string() : flags.name;
  options.version = HADAL_VERSION;
  options.state = state;
  options.hosts = flags.hosts;
  options.public_url = flags.public_url;
  options.server.listen = flags.listen;
  options.server.plain = flags.plain;
  if (flags.allow_tls12) options.server.tls.min_version = "1.2";
  options.server.max_connections = static_cast<size_t>(flags.max_connections);
  // Others than the requests that run or wait are refused soon, or ask for little.
  options.server.max_requests_in_flight = static_cast<size_t>(flags.max_running + flags.max_waiting + kOtherRequests);
  options.warn = [&log](const std::string& text) { Say(log, "warning: " + text, LogLevel::kWarn); };
  options.log = &log;
  options.memory_bytes_per_second = flags.log.memory_gbps * 1e9;
  return options;
}

LoopOptions ToLoopOptions(const ServeFlags& flags) {
  LoopOptions loop;
  loop.max_running = flags.max_running;
  loop.max_waiting = flags.max_waiting;
  loop.prefix_cache = flags.prefix_cache;
  loop.target_tpot_ms = flags.target_tpot_ms;
  loop.speculative = flags.speculative == "mtp" ? Speculation::kMtp : Speculation::kOff;
  loop.speculative_tokens = flags.speculative_tokens;
  return loop;
}

/// Loads the engine and hands it to the service, unless `stop` comes first: kCancelled.
Status LoadInto(Service& service, const ServeFlags& flags, const Path& folder, EngineOptions options,
                const std::atomic<bool>& stop, Log& log) {
  LoopOptions loop = ToLoopOptions(flags);
  options.sequences = flags.cache_sequences > 0 ? flags.cache_sequences : flags.max_running;
  options.fewer_sequences = flags.cache_sequences == 0;
  options.cache_tokens = flags.cache_tokens;
  options.load.mtp = loop.speculative == Speculation::kMtp;
  options.logit_rows = flags.max_running * (options.load.mtp ? 1 + flags.speculative_tokens : 1);
  options.beside = service.PlanFor(loop);
  options.load.stop = [&stop] { return stop.load(); };
  options.load.progress = [&service](uint64_t done, uint64_t total) { service.SetLoadProgress(done, total); };
  // A service's log says in any case what its memory is for.
  constexpr bool kNotes = true;
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                   LoadEngine(folder, options, kNotes, [&log](std::string_view line) { Say(log, line); }));
  ASSIGN_OR_RETURN(const SamplingParams defaults, ToSamplingParams({}, folder, engine->config().vocab_size));
  loop.max_running = std::min(flags.max_running, engine->pass().limits().logit_rows);
  return service.Serve(std::move(engine), loop, defaults);
}

/// LoadInto on a thread of its own, so that a signal is heard meanwhile.
/// @return false if the service was told to end before the model was loaded; the loading has been given up then.
Result<bool> LoadUnlessEnded(Service& service, const ServeFlags& flags, const Path& folder,
                             const EngineOptions& options, const sigset_t& signals, Log& log) {
  std::atomic<bool> ended{false}, stop{false};
  Status status;
  std::thread loader([&] {
    status = LoadInto(service, flags, folder, options, stop, log);
    ended = true;
    ::kill(::getpid(), kLoadedSignal);
  });
  stop = WaitForEnd(service, signals, log, &ended);
  loader.join();
  if (stop) return false;
  RETURN_IF_ERROR(status);
  return true;
}

/// Drains. A signal meanwhile cuts short what still runs; false if one came. Not in the first moment: who ends a process
/// and its group sends the same signal twice.
bool Drain(Service& service, const sigset_t& signals, Log& log, std::chrono::seconds limit) {
  std::atomic<bool> drained{false}, hurried{false};
  std::thread watcher([&] {
    constexpr timespec kLook{.tv_sec = 0, .tv_nsec = 50'000'000};
    const auto deaf_until = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
    while (!drained) {
      const int signal = sigtimedwait(&signals, nullptr, &kLook);
      if ((signal != SIGINT && signal != SIGTERM) || std::chrono::steady_clock::now() < deaf_until) continue;
      Say(log, "a second signal: running requests are cancelled", LogLevel::kWarn);
      hurried = true;
      return service.Hurry();
    }
  });
  service.Drain(limit);
  drained = true;
  watcher.join();
  return !hurried;
}

Result<int> Serve(const ServeFlags& flags) {
  ForbidCoreDumps();
  const sigset_t signals = ServeSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads the log or a connection may leave; the service stays

  ASSIGN_OR_RETURN(const Path folder, FindModelFolder(flags.engine.model));
  ASSIGN_OR_RETURN(const Path state, StateFolderOf(flags.state));
  ASSIGN_OR_RETURN(const EngineOptions engine_options, ToEngineOptions(flags.engine));
  ASSIGN_OR_RETURN(const Log::Options log_options, ToLogOptions(flags.log));
  Log log(log_options);  // outlives the service
  ServiceOptions options = ToServiceOptions(flags, folder, state, log);
  RETURN_IF_ERROR(ApplyServeAccess(flags.access, options));
  const std::string model = options.model;
  ASSIGN_OR_RETURN(const std::unique_ptr<Service> service, Service::Start(std::move(options)));
  ASSIGN_OR_RETURN(const bool loaded, LoadUnlessEnded(*service, flags, folder, engine_options, signals, log));
  if (!loaded) {
    Say(log, "ended before the model was loaded");
    service->Drain(std::chrono::seconds(0));
    return kExitOk;
  }
  SayStarted(log, *service, flags, state, model);
  if (!flags.ready_file.empty())
    RETURN_IF_ERROR(WriteFileAtomic(flags.ready_file, service->address() + "\n"));

  WaitForEnd(*service, signals, log, nullptr);
  Say(log, "draining; a second signal ends it now");
  return Drain(*service, signals, log, std::chrono::seconds(flags.drain)) ? kExitOk : kExitWarning;
}

void AddListenSettings(CLI::App& verb, ServeFlags& flags) {
  Setting(verb.add_option("--listen", flags.listen, "Numeric address and port; port 0: any free one")
              ->type_name("ADDRESS:PORT")
              ->capture_default_str(),
          "server.listen");
  Setting(verb.add_option("--ready-file", flags.ready_file, "Write the address here once requests are answered")
              ->type_name("FILE"),
          "server.ready_file");
  Setting(verb.add_option("--name", flags.name, "The model's id in the API; without it the folder's name")
              ->type_name("NAME"),
          "server.model_name");
  Setting(verb.add_option("--host", flags.hosts,
                          "Name that clients reach the service by, for certificate and Host check; may be repeated")
              ->type_name("NAME")
              ->allow_extra_args(false),
          "server.hosts");
  Setting(verb.add_option("--public-url", flags.public_url,
                          "What clients call the service, for the addresses that OAuth publishes; without it "
                          "https:// and the address listened on")
              ->type_name("URL"),
          "server.public_url");
  Setting(AddNumber(verb, "--max-connections", flags.max_connections, 1, 1000000, "Connections open at one time at most"),
          "server.max_connections");
  Setting(AddNumber(verb, "--drain", flags.drain, 0, 86400,
                    "Seconds that running requests get when the service ends"),
          "server.drain_seconds");
  Setting(AddSwitch(verb, "allow-tls-1.2", flags.allow_tls12, "Accept TLS 1.2 besides 1.3"),
          "server.allow_tls_1_2");
  Setting(AddSwitch(verb, "plain-http", flags.plain, "No TLS; only on a loopback address"), "server.plain_http");
}

void AddLoadSettings(CLI::App& verb, ServeFlags& flags) {
  Setting(AddNumber(verb, "--max-running", flags.max_running, 1, 4096, "Requests computed together at most"),
          "engine.max_running");
  Setting(AddNumber(verb, "--max-waiting", flags.max_waiting, 1, 1000000,
                    "Requests that wait at most; more get 429"),
          "engine.max_waiting");
  Setting(AddNumber(verb, "--cache-sequences", flags.cache_sequences, 0, 4096,
                    "Full contexts (of --context tokens) that the cache has room for; 0: as many as --max-running, or "
                    "what the memory leaves"),
          "engine.cache_sequences");
  Setting(AddNumber(verb, "--cache-tokens", flags.cache_tokens, 0, int64_t{1} << 40,
                    "Tokens that the cache has room for, of all requests together; 0: as --cache-sequences says"),
          "engine.cache_tokens");
  Setting(AddChoice(verb, "--speculative", flags.speculative, {"off", "mtp"},
                    "Guess tokens with the model's prediction layer (MTP): the same tokens, sooner where guesses are right"),
          "engine.speculative");
  Setting(AddNumber(verb, "--speculative-tokens", flags.speculative_tokens, 1, kMostDrafts,
                    "Tokens guessed for a request in a step, with --speculative mtp"),
          "engine.speculative_tokens");
  Setting(AddNumber(verb, "--target-tpot-ms", flags.target_tpot_ms, 0, 1e6,
                    "Milliseconds between tokens that prompts must not push beyond; 0: none"),
          "engine.target_tpot_ms");
  Setting(AddSwitch(verb, "prefix-cache", flags.prefix_cache, "Keep prompts' latents for later requests"),
          "engine.prefix_cache");
}

}  // namespace

void AddServe(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("serve", "OpenAI-compatible HTTPS service");
  const auto flags = std::make_shared<ServeFlags>();
  AddEngineFlags(*verb, flags->engine);
  AddStateFlag(*verb, flags->state);
  AddListenSettings(*verb, *flags);
  AddServeAccessFlags(*verb, flags->access);
  AddServeLogFlags(*verb, flags->log);
  AddLoadSettings(*verb, *flags);
  verb->footer(kFooter);
  verb->callback([flags, &action] { action = [flags] { return Serve(*flags); }; });
}

}  // namespace hadal
