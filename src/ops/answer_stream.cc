#include "ops/answer_stream.h"

#include <algorithm>

namespace hadal {

void AnswerStream::Begin(Clock::time_point intended, Clock::time_point now) {
  record_ = {};
  record_.intended = intended;
  record_.sent = now;
  parser_ = {};
  refusal_.clear();
  finished_ = done_ = false;
}

void AnswerStream::Fail(std::string kind, std::string detail) {
  if (!record_.error.empty()) return;
  record_.error = std::move(kind);
  record_.detail = std::move(detail);
}

Reading AnswerStream::OnBytes(int status, std::string_view bytes) {
  if (rests && rests()) return Reading::kPause;
  if (status != 200) {
    refusal_ += bytes.substr(0, kMaxRefusalBytes - std::min(refusal_.size(), kMaxRefusalBytes));
    return Reading::kGoOn;
  }
  now_ = Clock::now();
  reading_ = Reading::kGoOn;
  const Status fed = parser_.Feed(bytes, [this](std::string_view data) { return TakeEvent(data); });
  if (!fed) Fail("bad stream", fed.error().message);
  return record_.error.empty() ? reading_ : Reading::kStop;
}

bool AnswerStream::TakeEvent(std::string_view data) {
  if (data == "[DONE]") {
    done_ = true;
    record_.end = now_;
    return true;
  }
  const Result<StreamEvent> event = event_parser_.Parse(data);
  if (!event) {
    Fail("bad stream", event.error().message);
    return false;
  }
  if (!event->error.empty()) {
    Fail("error event", event->error);
    return false;
  }
  TokenUsage& usage = record_.usage;
  if (event->usage.prompt >= 0) usage.prompt = event->usage.prompt;
  if (event->usage.cached >= 0) usage.cached = event->usage.cached;
  if (event->usage.generated >= 0) usage.generated = event->usage.generated;
  finished_ |= event->finished;
  // An answer of which nothing can be shown (half characters only) has its first moment where it ends.
  const bool piece = event->text || event->token_ids > 0 || (event->finished && record_.events == 0);
  if (!piece) return true;
  ++record_.events;
  if (on_piece) reading_ = on_piece(record_, *event, now_);
  if (record_.events == 1) record_.first = now_;
  record_.last = now_;
  return true;
}

void AnswerStream::OnEnd(const TransferEnd& end) {
  if (record_.end == Clock::time_point{}) record_.end = Clock::now();
  if (end.stopped && record_.error.empty()) {
    record_.stopped = true;
  } else if (!end.failure.empty()) {
    Fail(end.failure, end.detail);
  } else if (end.status != 200 && end.status != 0) {
    Fail("http " + std::to_string(end.status), RefusalText(refusal_));
  } else if (!done_ && !finished_) {
    Fail("cut off", "the stream ended before the answer did");
  }
  if (on_end) on_end(record_);
}

}  // namespace hadal
