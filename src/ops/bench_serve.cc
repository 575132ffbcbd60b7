#include "ops/bench_serve.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/cpu_info.h"

namespace hadal {
namespace {

using Clock = LoadClient::Clock;

constexpr int64_t kMostAtOnce = 65536;
constexpr auto kProgressEvery = std::chrono::milliseconds(100);
constexpr size_t kMostErrorKinds = 64;
constexpr uint64_t kWarmupIndex = uint64_t{1} << 40;  // prompts of the warm-up are no measured request's

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

Clock::duration Duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string UtcNow() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// One point: sends, receives, counts.
class PointRun {
 public:
  PointRun(LoadClient& client, const Dialect& dialect, const ServeBenchOptions& options, std::string stage,
           uint64_t first_index)
      : client_(client),
        dialect_(dialect),
        options_(options),
        stage_(std::move(stage)),
        next_index_(first_index) {}

  /// Keeps `at_once` requests under way, until `requests` were sent (0: no limit) or `seconds` have passed
  /// (0: no limit), then waits for the rest.
  void Closed(int64_t at_once, int64_t requests, double seconds);
  /// Sends at the arrivals' times.
  void Open(Arrivals arrivals, int64_t most, int64_t requests, double seconds);

  ServePoint& point() { return point_; }
  bool interrupted() const { return interrupted_; }
  uint64_t next_index() const { return next_index_; }

 private:
  struct Slot {
    AnswerStream stream;
    LoadClient::Id id = 0;
    int64_t asked = 0;       // tokens
    Clock::time_point last;  // of the previous piece
  };

  void Begin(int64_t requests, double seconds);
  bool MaySend(Clock::time_point now) const;
  void Send(Clock::time_point intended);
  Slot& FreeSlot();
  void Take(Slot& slot, const AnswerRecord& record);
  void Count(const AnswerRecord& record, int64_t asked);
  void CountError(const AnswerRecord& record);
  void Turn(Clock::time_point until);
  void Finish();

  LoadClient& client_;
  const Dialect& dialect_;
  const ServeBenchOptions& options_;
  const std::string stage_;
  uint64_t next_index_;
  ServePoint point_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> free_;
  int64_t in_flight_ = 0, ended_ = 0;
  int64_t requests_ = 0;
  double duration_ = 0;
  Clock::time_point start_, last_end_, next_progress_;
  bool interrupted_ = false;
};

void PointRun::Begin(int64_t requests, double seconds) {
  requests_ = requests;
  duration_ = seconds;
  start_ = last_end_ = next_progress_ = Clock::now();
  point_.connections = client_.connections();
}

bool PointRun::MaySend(Clock::time_point now) const {
  if (interrupted_ || (requests_ > 0 && point_.sent >= requests_)) return false;
  return duration_ <= 0 || Seconds(now - start_) < duration_;
}

PointRun::Slot& PointRun::FreeSlot() {
  if (free_.empty()) {
    Slot* slot = slots_.emplace_back(std::make_unique<Slot>()).get();
    slot->stream.on_piece = [this, slot](const AnswerRecord& record, const StreamEvent&,
                                         Clock::time_point now) {
      if (record.events > 1) point_.itl.Add(Seconds(now - slot->last));
      slot->last = now;
      return Reading::kGoOn;
    };
    slot->stream.on_end = [this, slot](const AnswerRecord& record) { Take(*slot, record); };
    free_.push_back(slot);
  }
  Slot& slot = *free_.back();
  free_.pop_back();
  return slot;
}

void PointRun::Send(Clock::time_point intended) {
  const uint64_t index = next_index_++;
  Slot& slot = FreeSlot();
  OutgoingRequest request = MakeRequest(dialect_, options_.prompts, index);
  request.timeout = std::chrono::milliseconds(std::llround(options_.timeout * 1000));
  slot.asked = LengthsOf(options_.prompts, index).output;
  const Clock::time_point now = Clock::now();
  // A closed loop has no schedule: its requests are meant to be sent when they are.
  slot.stream.Begin(intended == Clock::time_point{} ? now : intended, now);
  if (intended != Clock::time_point{}) point_.latest = std::max(point_.latest, Seconds(now - intended));
  ++point_.sent;
  point_.most_in_flight = std::max(point_.most_in_flight, ++in_flight_);
  slot.id = client_.Start(std::move(request), slot.stream);
}

void PointRun::Take(Slot& slot, const AnswerRecord& record) {
  slot.id = 0;
  free_.push_back(&slot);
  --in_flight_;
  ++ended_;
  last_end_ = std::max(last_end_, record.end);
  if (record.stopped)
    ++point_.stopped;
  else if (!record.error.empty())
    CountError(record);
  else
    Count(record, slot.asked);
}

void PointRun::CountError(const AnswerRecord& record) {
  const bool known = point_.errors.contains(record.error);
  const std::string kind = known || point_.errors.size() < kMostErrorKinds ? record.error : "other";
  ++point_.errors[kind];
  point_.examples.try_emplace(kind, record.detail);
}

void PointRun::Count(const AnswerRecord& record, int64_t asked) {
  const double ttft = Seconds(record.first - record.intended), e2e = Seconds(record.end - record.intended);
  const int64_t tokens = record.tokens();
  const double tpot = tokens > 1 ? Seconds(record.last - record.first) / static_cast<double>(tokens - 1) : 0;
  ++point_.succeeded;
  point_.ttft.Add(ttft);
  point_.e2e.Add(e2e);
  if (tokens > 1) point_.tpot.Add(tpot);
  point_.output_tokens += tokens;
  point_.input_tokens += std::max<int64_t>(record.usage.prompt, 0);
  point_.cached_tokens += std::max<int64_t>(record.usage.cached, 0);
  point_.answers_cut += tokens < asked;
  const Slo& slo = options_.slo;
  const auto keeps = [](double seconds, double limit_ms) {
    return limit_ms <= 0 || seconds * 1000 <= limit_ms;
  };
  point_.good += keeps(ttft, slo.ttft_ms) && keeps(tpot, slo.tpot_ms) && keeps(e2e, slo.e2e_ms);
}

/// Moves bytes, says how far it is, and ends everything when it is interrupted.
void PointRun::Turn(Clock::time_point until) {
  client_.Run(std::min(until, Clock::now() + kProgressEvery));
  const Clock::time_point now = Clock::now();
  if (now < next_progress_ || !options_.progress || interrupted_) return;
  next_progress_ = now + kProgressEvery;
  const bool by_count = requests_ > 0;
  const double seconds = std::min(Seconds(now - start_), duration_);
  const uint64_t done = by_count ? static_cast<uint64_t>(ended_) : static_cast<uint64_t>(seconds * 1000);
  const uint64_t total =
      by_count ? static_cast<uint64_t>(requests_) : static_cast<uint64_t>(duration_ * 1000);
  if (options_.progress(stage_, done, total)) return;
  interrupted_ = true;
  for (const auto& slot : slots_) client_.Cancel(slot->id);
}

void PointRun::Closed(int64_t at_once, int64_t requests, double seconds) {
  Begin(requests, seconds);
  while (in_flight_ > 0 || MaySend(Clock::now())) {
    while (in_flight_ < at_once && MaySend(Clock::now())) Send({});
    Turn(Clock::time_point::max());
  }
  Finish();
}

void PointRun::Open(Arrivals arrivals, int64_t most, int64_t requests, double seconds) {
  Begin(requests, seconds);
  Clock::time_point due = start_ + Duration(arrivals.Next());
  const auto in_time = [&] { return MaySend(due); };
  while (in_flight_ > 0 || in_time()) {
    while (in_flight_ < most && in_time() && due <= Clock::now()) {
      Send(due);
      due = start_ + Duration(arrivals.Next());
    }
    Turn(in_time() && in_flight_ < most ? due : Clock::time_point::max());
  }
  Finish();
}

void PointRun::Finish() {
  point_.seconds = Seconds(last_end_ - start_);
  point_.connections = client_.connections() - point_.connections;
}

Status CheckLoops(const ServeBenchOptions& options) {
  if (options.rates.empty() && options.concurrency.empty())
    return InvalidArgument("there is nothing to measure; give --concurrency or --rate");
  for (const int64_t concurrency : options.concurrency)
    if (concurrency < 1 || concurrency > kMostAtOnce)
      return InvalidArgument("a concurrency of {} is not from 1 to {}", concurrency, kMostAtOnce);
  for (const double rate : options.rates)
    if (!(rate > 0 && rate <= 1e6))
      return InvalidArgument("a rate of {} requests/s is not above 0 and at most 1000000", rate);
  if (options.max_in_flight < 1 || options.max_in_flight > kMostAtOnce)
    return InvalidArgument("--max-in-flight is {}; it must be from 1 to {}", options.max_in_flight,
                           kMostAtOnce);
  return {};
}

}  // namespace

Status CheckServeBench(const ServeBenchOptions& options) {
  RETURN_IF_ERROR(CheckLoops(options));
  if (options.requests < 0 || options.requests > 1'000'000'000)
    return InvalidArgument("{} requests are not from 1 to 1000000000", options.requests);
  if (!(options.duration >= 0 && options.duration <= 1e6))
    return InvalidArgument("a duration of {} s is not from 0 to 1000000", options.duration);
  if (options.requests == 0 && options.duration <= 0)
    return InvalidArgument("nothing ends the run; give --requests or --duration");
  if (!(options.timeout >= 0.001 && options.timeout <= 1e6))
    return InvalidArgument("a timeout of {} s is not from 0.001 to 1000000", options.timeout);
  if (options.prompts.shared_prefix < 0 || options.prompts.shared_prefix > options.prompts.input.most)
    return InvalidArgument("--shared-prefix is {} tokens and the longest prompt has {}",
                           options.prompts.shared_prefix, options.prompts.input.most);
  if (options.dialect.model.empty()) return InvalidArgument("the model has no name; give --model");
  return {};
}

Result<ServeBenchReport> BenchServe(Endpoint endpoint, const ServeBenchOptions& options) {
  RETURN_IF_ERROR(CheckServeBench(options));
  int64_t most = options.rates.empty() ? 1 : options.max_in_flight;
  if (options.rates.empty())
    for (const int64_t concurrency : options.concurrency) most = std::max(most, concurrency);
  ServeBenchReport report;
  report.options = options;
  report.date = UtcNow();
  report.host = ProcessorName();
  ASSIGN_OR_RETURN(const std::unique_ptr<LoadClient> client,
                   LoadClient::Create(std::move(endpoint), static_cast<int>(most)));
  report.url = client->endpoint().url;
  ASSIGN_OR_RETURN(report.dialect, Probe(*client, options.dialect));

  const bool open = !options.rates.empty();
  const size_t points = open ? options.rates.size() : options.concurrency.size();
  uint64_t index = 0;
  for (size_t i = 0; i < points && !report.interrupted; ++i) {
    const int64_t at_once = open ? 1 : options.concurrency[i];
    const std::string stage =
        open ? fmt::format("{:g} requests/s", options.rates[i]) : fmt::format("concurrency {}", at_once);
    const int64_t warmup = options.warmup >= 0 ? options.warmup : at_once;
    if (warmup > 0) {
      PointRun warm(*client, report.dialect, options, stage + ", warm-up", kWarmupIndex + index);
      warm.Closed(at_once, warmup, 0);
      report.interrupted = warm.interrupted();
      if (report.interrupted) break;
    }
    PointRun run(*client, report.dialect, options, stage, index);
    if (open)
      run.Open(Arrivals(options.arrivals, options.rates[i], options.prompts.seed), options.max_in_flight,
               options.requests, options.duration);
    else
      run.Closed(at_once, options.requests, options.duration);
    index = run.next_index();
    report.interrupted = run.interrupted();
    run.point().concurrency = open ? 0 : at_once;
    run.point().rate = open ? options.rates[i] : 0;
    report.points.push_back(std::move(run.point()));
  }
  return report;
}

}  // namespace hadal
