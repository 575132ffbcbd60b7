// One line of the log for each response.
#pragma once

#include "base/log.h"
#include "server/http_server.h"

namespace hadal {

/// Writes: request_id, client, peer, method, route, status, duration_ms, bytes, and where something was generated
/// prompt_tokens, cached_tokens, generated_tokens, finish_reason, ttft_ms. Nothing else of a request goes into the
/// log: no target (the route says which path of the table it was), no query, header, token, prompt or answer.
/// Level: error for 5xx, warn where the client got no whole response, debug for probes and scrapes that went well,
/// else info.
void LogAccess(Log& log, const AccessRecord& record);

}  // namespace hadal
