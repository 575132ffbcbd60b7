#include "server/access_log.h"

#include <vector>

namespace hadal {
namespace {

double Milliseconds(std::chrono::nanoseconds d) { return std::chrono::duration<double, std::milli>(d).count(); }

LogLevel LevelOf(const AccessRecord& record) {
  const bool probe = record.route == "/livez" || record.route == "/readyz" || record.route == "/metrics";
  // A probe's 503 says that the service is not ready; nothing has failed.
  if (record.status >= 500 && !(probe && record.status == 503)) return LogLevel::kError;
  if (!record.completed) return LogLevel::kWarn;
  return probe && record.status == 200 ? LogLevel::kDebug : LogLevel::kInfo;
}

}  // namespace

void LogAccess(Log& log, const AccessRecord& record) {
  const LogLevel level = LevelOf(record);
  if (!log.Wants(level)) return;
  std::vector<LogField> fields{{"request_id", record.request_id},
                               {"peer", record.peer},
                               {"method", record.method},
                               {"route", record.route.empty() ? "none" : record.route},
                               {"status", record.status},
                               {"duration_ms", Milliseconds(record.duration)},
                               {"bytes", static_cast<int64_t>(record.bytes)}};
  if (record.identity) fields.push_back({"client", record.identity->client});
  if (!record.completed) fields.push_back({"cut", "the client left or was cut off"});
  if (const RequestNotes* notes = record.notes; notes && notes->prompt_tokens >= 0) {
    fields.push_back({"prompt_tokens", notes->prompt_tokens});
    fields.push_back({"cached_tokens", notes->cached_tokens});
    fields.push_back({"generated_tokens", notes->generated_tokens});
    const char* reason = notes->finish_reason;
    fields.push_back({"finish_reason", reason ? reason : "cancelled"});
    if (const int64_t first = notes->first_token_ns; first > 0)
      fields.push_back({"ttft_ms", Milliseconds(std::chrono::nanoseconds(first) - record.start.time_since_epoch())});
  }
  log.Write(level, "request", fields);
}

}  // namespace hadal
