#include "server/readiness.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hadal {

void Readiness::SetProgress(uint64_t done, uint64_t total) {
  total_ = total;
  done_ = done;
}

void Readiness::Loaded(uint64_t bytes) {
  bytes_ = bytes;
  loaded_ = true;
}

Readiness::Report Readiness::Now(const LoopStats* loop, std::chrono::seconds stalled_after) const {
  const bool loaded = loaded_ && loop != nullptr;
  const bool stalled = loaded && loop->work_pending &&
                       loop->seconds_since_progress >= static_cast<double>(stalled_after.count());
  const char* status = draining_ ? "draining" : !loaded ? "loading" : stalled ? "stalled" : "ready";
  nlohmann::ordered_json body = {{"status", status}};
  body["weights"]["verified"] = loaded;
  if (loaded) {
    body["weights"]["checked"] = "name, type, shape and byte range of every tensor";
    body["weights"]["bytes"] = bytes_.load();
    body["engine"]["work_pending"] = loop->work_pending;
    body["engine"]["seconds_since_progress"] = loop->seconds_since_progress;
  } else {
    const uint64_t done = done_, total = total_;
    const double share =
        total == 0 ? 0 : static_cast<double>(std::min(done, total)) / static_cast<double>(total);
    body["weights"]["percent"] = static_cast<int>(share * 100);
  }
  return {!draining_ && loaded && !stalled, body.dump() + "\n"};
}

}  // namespace hadal
