// The half of Metrics that asks the others, when the exposition is written.
#include <prometheus/text_serializer.h>

#include "server/metrics.h"
#include "server/metrics_families.h"
#include "server/process_metrics.h"

namespace hadal {
namespace {

double Number(auto value) { return static_cast<double>(value); }

}  // namespace

void Metrics::Families::SetLoop(const LoopStats& loop) {
  Set("hadal_requests_running", "Requests in the engine's steps.", Number(loop.running));
  Set("hadal_requests_waiting", "Requests that wait for their first or next step.", Number(loop.waiting));
  Set("hadal_tokens_in_flight", "Prompt and generated tokens of requests that have not ended.",
        Number(tokens_in_flight.load()));
  Set("hadal_cache_blocks", "Blocks of the latent cache.", Number(loop.total_blocks));
  Set("hadal_cache_blocks_free", "Blocks that nothing holds.", Number(loop.free_blocks));
  Set("hadal_cache_blocks_prefix", "Blocks that the prefix cache alone holds.", Number(loop.cached_blocks));
  Set("hadal_cache_usage_ratio", "Share of blocks that requests hold.",
        loop.total_blocks == 0 ? 0.0
                               : Number(loop.total_blocks - loop.free_blocks - loop.cached_blocks) /
                                     Number(loop.total_blocks));
  Set("hadal_step_prefill_budget_tokens", "Prompt tokens that a step with decoding requests may take.",
        Number(loop.prefill_budget));
  Set("hadal_seconds_since_progress", "Since a step ended while work was pending.", loop.seconds_since_progress);
  Set("hadal_decode_bandwidth_ratio", "Share of the memory bandwidth reached by the last step without prompts.",
        last_share.load());
  Count("hadal_steps_total", "Engine steps.", Number(loop.steps));
  Count("hadal_steps_failed_total", "Engine steps that failed.", Number(loop.failed_steps));
  Count("hadal_prompt_tokens_total", "Prompt tokens computed.", Number(loop.prefill_tokens));
  Count("hadal_generated_tokens_total", "Tokens generated.", Number(loop.generated_tokens));
  Count("hadal_speculative_draft_tokens_total", "Tokens guessed and computed.", Number(loop.drafted_tokens));
  Count("hadal_speculative_accepted_tokens_total", "Of these, became tokens of answers.",
        Number(loop.accepted_tokens));
  Count("hadal_speculative_pauses_total", "Times that a request's guesses paused, as too few came true.",
        Number(loop.guess_pauses));
  Count("hadal_grammar_waits_total", "Tokens put off to a later step, as what their grammar allows took too long.",
        Number(loop.mask_waits));
  Count("hadal_preemptions_total", "Requests that lost their cache for a while.", Number(loop.preemptions));
  Count("hadal_prefix_query_tokens_total", "Prompt tokens looked up in the prefix cache.",
          Number(loop.prefix_query_tokens));
  Count("hadal_prefix_hit_tokens_total", "Of these, found.", Number(loop.prefix_hit_tokens));
}

void Metrics::Families::SetServer(const Snapshot& snapshot) {
  const ServerStats& server = snapshot.server;
  Set("hadal_ready", "1 where /readyz says so.", snapshot.ready ? 1 : 0);
  Set("hadal_model_loaded", "Whether the model is loaded.", snapshot.loaded ? 1 : 0);
  Set("hadal_http_connections", "Open connections.", Number(server.connections));
  Set("hadal_http_streams", "Streamed responses under way.", Number(server.streams));
  Set("hadal_http_requests_in_flight", "Requests without a complete response.", Number(server.requests_in_flight));
  Count("hadal_http_connections_accepted_total", "Connections taken.", Number(server.accepted));
  Count("hadal_http_refused_connections_total", "Connections over a limit.", Number(server.refused_connections));
  Count("hadal_http_accept_failures_total", "Times that accepting paused for want of descriptors or memory.",
          Number(server.accept_failures));
  Count("hadal_tls_handshake_failures_total", "TLS handshakes that failed.", Number(server.handshake_failures));
  Count("hadal_http_timeouts_total", "Connections ended by a time limit.", Number(server.timeouts));
  Count("hadal_http_slow_readers_total", "Streams cut off because the client did not read.",
          Number(server.slow_readers));
  Count("hadal_log_dropped_total", "Lines of the log that its reader was too slow for.",
          Number(snapshot.log_dropped));
  Set("hadal_state_folder_free_bytes", "Free on the file system of the state folder.",
        Number(snapshot.state_free_bytes));
  Set("hadal_state_folder_size_bytes", "Size of the file system of the state folder.",
        Number(snapshot.state_size_bytes));
  if (snapshot.certificate_not_after.time_since_epoch().count() == 0) return;
  Set("hadal_certificate_expiry_timestamp_seconds", "When the server's certificate expires, Unix time.",
        std::chrono::duration<double>(snapshot.certificate_not_after.time_since_epoch()).count());
}

void Metrics::Families::SetProcess(const ProcessStats& process) {
  Count("process_cpu_seconds_total", "User and system time.", process.cpu_seconds);
  Set("process_start_time_seconds", "When the process started, Unix time.", process.start_seconds);
  Set("process_virtual_memory_bytes", "Virtual memory.", Number(process.virtual_bytes));
  Set("process_resident_memory_bytes", "Physical memory.", Number(process.resident_bytes));
  Set("process_open_fds", "Open file descriptors.", Number(process.open_fds));
  Set("process_max_fds", "The limit of open file descriptors.", Number(process.max_fds));
  Set("process_threads", "Threads.", Number(process.threads));
  Set("hadal_anonymous_memory_bytes", "Physical memory that is not the cache of files.",
        Number(process.anonymous_bytes));
}

std::string Metrics::Exposition(const Snapshot& snapshot) {
  Families& f = *families_;
  const std::lock_guard lock(f.snapshot);
  f.SetLoop(snapshot.loop);
  f.SetServer(snapshot);
  f.SetProcess(ReadProcessStats());
  return prometheus::TextSerializer().Serialize(f.registry.Collect());
}

}  // namespace hadal
