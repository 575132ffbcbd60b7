#include "parallel/patience.h"

#include <algorithm>

#include "parallel/flight_recorder.h"

namespace hadal {
namespace {

using std::chrono::milliseconds;

// Work that ends between two looks leaves its rank most of the limit for what comes then.
constexpr int kLooksPerLimit = 8;
constexpr milliseconds kLeastBetweenLooks{20};
// Once told to end: mpirun kills a second later.
constexpr milliseconds kBetweenLooksWhenTold{50};

}  // namespace

Patience::Patience(const LaunchOptions& options, int rank, int ranks, bool recorded, Clock::time_point now)
    : options_(options), rank_(rank), ranks_(ranks), recorded_(recorded && !options.flight_dir.empty()), start_(now),
      end_(now + options.limit), next_look_(now + std::max(options.limit / kLooksPerLimit, kLeastBetweenLooks)) {}

std::optional<std::string> Patience::Exhausted(Clock::time_point now) {
  if (!told_ && options_.told_to_end && options_.told_to_end()) {
    told_ = true;
    next_look_ = now;
  }
  if (recorded_ && now >= next_look_) {
    const FlightRecorder::Others others = FlightRecorder::Look(options_.flight_dir, ranks_, rank_);
    if (others.gone)
      return fmt::format("{}waited {:.1f} s", told_ ? "was told to end, and " : "",
                         std::chrono::duration<double>(now - start_).count());
    if (others.works) end_ = now + options_.limit;
    next_look_ = now + (told_ ? kBetweenLooksWhenTold : std::max(options_.limit / kLooksPerLimit, kLeastBetweenLooks));
  }
  if (now <= end_) return std::nullopt;
  return fmt::format("waited {:.1f} s", static_cast<double>(options_.limit.count()) / 1e3);
}

}  // namespace hadal
