#include "ops/soak_visit.h"

#include <array>

#include "base/rng.h"
#include "ops/prompts.h"

namespace hadal {
namespace {

constexpr uint64_t kStream = uint64_t{3} << 60;
constexpr size_t kOversizeBytes = size_t{80} << 20;
constexpr std::chrono::seconds kVisitTimeout{120};

struct KindInfo {
  const char* name;
  uint32_t share;  // of 100
};
constexpr std::array<KindInfo, kVisitKinds> kKinds = {{{"whole", 40},
                                                       {"leaves", 18},
                                                       {"leaves soon", 7},
                                                       {"slow", 8},
                                                       {"stalls", 5},
                                                       {"bad json", 6},
                                                       {"bad field", 5},
                                                       {"oversize", 1},
                                                       {"bad token", 4},
                                                       {"no tls", 4},
                                                       {"no route", 2}}};

constexpr std::array<const char*, 6> kBadJson = {
    "{\"model\":", "", "[]", "{\"prompt\":\"\\ud800\"}", "nul\xff", "{\"model\":\"m\",\"prompt\":1e999}"};

/// A body with one field that is wrong.
std::string BadField(const std::string& model, uint32_t which) {
  const char* field[] = {"\"max_tokens\":-1", "\"temperature\":\"warm\"", "\"prompt\":[-5]", "\"n\":1000000",
                         "\"logit_bias\":{\"x\":1}"};
  return fmt::format("{{\"model\":\"{}\",{}{}}}", model, which % 5 == 2 ? "" : "\"prompt\":\"x\",",
                     field[which % 5]);
}

bool IsStream(VisitKind kind) { return kind <= VisitKind::kStalls; }
bool IsBusy(const AnswerRecord& record) { return record.error == "http 429" || record.error == "http 503"; }

/// What a visit of that kind may meet, where its server is in order and not too busy.
bool Expected(VisitKind kind, const AnswerRecord& record) {
  const std::string& error = record.error;
  switch (kind) {
    case VisitKind::kWhole:
    case VisitKind::kSlow:
      return error.empty() && !record.stopped;
    case VisitKind::kLeaves:
    case VisitKind::kLeavesSoon:
    case VisitKind::kStalls:
      return error.empty();  // left, or was served before it could
    case VisitKind::kBadJson:
    case VisitKind::kBadField:
      return error == "http 400" || error == "http 422" || error == "http 404";
    // The server need not read the body to the end before it refuses and closes.
    case VisitKind::kOversize:
      return error == "http 413" || error == "broken";
    case VisitKind::kBadToken:
      return error == "http 401";
    case VisitKind::kNoTls:
      return error == "broken" || error == "http 400";
    case VisitKind::kNoRoute:
      return error == "http 404" || error == "http 405" || error == "http 501";
  }
  return false;
}

}  // namespace

const char* VisitName(VisitKind kind) { return kKinds[static_cast<size_t>(kind)].name; }

VisitKind DrawVisit(uint64_t seed, uint64_t number) {
  uint32_t draw = PhiloxAt(seed, kStream, number)[0] % 100;
  for (int i = 0; i < kVisitKinds; ++i) {
    if (draw < kKinds[static_cast<size_t>(i)].share) return static_cast<VisitKind>(i);
    draw -= kKinds[static_cast<size_t>(i)].share;
  }
  return VisitKind::kWhole;
}

Visitor::Visitor(LoadClient& client, std::string model, uint64_t seed)
    : client_(client), model_(std::move(model)), seed_(seed) {
  stream_.on_piece = [this](const AnswerRecord& record, const StreamEvent&, Clock::time_point) {
    return OnPiece(record);
  };
  stream_.rests = [this] { return Rests(); };
  stream_.on_end = [this](const AnswerRecord& record) { OnEnd(record); };
}

uint32_t Visitor::Draw(uint64_t what) const { return PhiloxAt(seed_, kStream + 1 + what, number_)[0]; }

OutgoingRequest Visitor::RequestOf(VisitKind kind, uint64_t number) const {
  OutgoingRequest request;
  request.path = "/completions";
  request.timeout = kVisitTimeout;
  switch (kind) {
    case VisitKind::kBadJson:
      request.body = kBadJson[Draw(1) % kBadJson.size()];
      break;
    case VisitKind::kBadField:
      request.body = BadField(model_, Draw(1));
      break;
    case VisitKind::kOversize:
      request.body.assign(kOversizeBytes, ' ');
      break;
    case VisitKind::kBadToken:
      request.other_token = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA";
      request.body = "{}";
      break;
    case VisitKind::kNoTls: {
      const std::string& url = client_.endpoint().url;
      request.path = "http" + url.substr(url.find("://"));
      request.method = "\x16\x03\x01\xff GARBAGE";
      request.with_token = false;
      request.body.assign(1000, '\x80');
      break;
    }
    case VisitKind::kNoRoute:
      request.path = "/nothing";
      request.body = "{}";
      break;
    default: {
      const PromptOptions prompts{.seed = seed_};
      request.body = fmt::format(
          "{{\"model\":\"{}\",\"prompt\":\"{}\",\"max_tokens\":{},\"temperature\":0.8,\"seed\":{},\"stream\":"
          "true,"
          "\"ignore_eos\":true,\"stream_options\":{{\"include_usage\":true}}}}",
          model_, PromptText(prompts, number, 1 + Draw(2) % 40, Draw(3) % 2 == 0 ? 10 : 0), 1 + Draw(4) % 64,
          number);
    }
  }
  return request;
}

void Visitor::Start(uint64_t number) {
  number_ = number;
  kind_ = DrawVisit(seed_, number);
  const Clock::time_point now = Clock::now();
  due_ = Clock::time_point::max();
  pauses_ = kind_ == VisitKind::kSlow ? 2 + Draw(5) % 3 : kind_ == VisitKind::kStalls ? 1 : 0;
  if (kind_ == VisitKind::kLeavesSoon) due_ = now + std::chrono::microseconds(Draw(6) % 20000);
  stream_.Begin(now, now);
  id_ = client_.Start(RequestOf(kind_, number), stream_);
}

Reading Visitor::OnPiece(const AnswerRecord& record) const {
  const bool enough = record.events > static_cast<int64_t>(Draw(7) % 6);
  return kind_ == VisitKind::kLeaves && enough ? Reading::kStop : Reading::kGoOn;
}

/// A slow reader rests 20 to 220 ms, a stalled one up to 2 s before it goes.
bool Visitor::Rests() {
  if (due_ != Clock::time_point::max() && kind_ != VisitKind::kLeavesSoon) return true;  // it still does
  if (pauses_ == 0) return false;
  --pauses_;
  const uint32_t most = kind_ == VisitKind::kStalls ? 2000 : 200;
  due_ = Clock::now() + std::chrono::milliseconds(20 + Draw(8 + pauses_) % most);
  return true;
}

void Visitor::Act(Clock::time_point now) {
  if (id_ == 0 || now < due_) return;
  due_ = Clock::time_point::max();
  if (kind_ == VisitKind::kSlow)
    client_.Resume(id_);
  else
    client_.Cancel(id_);
}

void Visitor::OnEnd(const AnswerRecord& record) {
  id_ = 0;
  VisitOutcome outcome;
  outcome.kind = kind_;
  outcome.busy = IsBusy(record);
  outcome.expected = Expected(kind_, record) || outcome.busy;
  outcome.succeeded = IsStream(kind_) && record.error.empty() && !record.stopped;
  outcome.what = record.stopped         ? "left"
                 : record.error.empty() ? "served"
                                        : record.error + ": " + record.detail;
  if (on_end) on_end(outcome);
}

}  // namespace hadal
