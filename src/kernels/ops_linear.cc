#include <algorithm>
#include <atomic>
#include <optional>

#include "base/check.h"
#include "kernels/ops.h"

namespace hadal::ops {
namespace {

// Panels in a unit: 64 outputs. Their weights stay in a core's L2 while the rows pass (64 x 7168 bf16 is 0.9 MB), and
// a layer of 2,048 outputs still makes 32 units.
constexpr int64_t kUnitPanels = 4;
// Rows whose pointers are kept at once.
constexpr int64_t kRowChunk = 64;

using JobPlan = ExecContext::JobPlan;

/// The (format, input) pairs that kernels multiply; a loader that makes others has a bug.
bool Serves(WeightFormat format, InputFormat input) {
  switch (input) {
    case InputFormat::kF32: return true;
    case InputFormat::kBF16: return format == WeightFormat::kBF16 || format == WeightFormat::kFp8;
    case InputFormat::kInt8: return format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
    case InputFormat::kE4M3:
    case InputFormat::kE4M3Pow2: return format != WeightFormat::kInt8 && format != WeightFormat::kInt4;
  }
  return false;
}

bool SameInput(const LinearJob& a, const LinearJob& b) {
  return a.x.data == b.x.data && a.x.rows == b.x.rows && a.x.stride == b.x.stride && a.w->in == b.w->in &&
         a.w->input == b.w->input && a.w->padded_in() == b.w->padded_in() && a.w->group == b.w->group &&
         a.w->scale_count() == b.w->scale_count();
}

/// The job whose prepared input job `j` can use: among the last kDistinctInputs that prepare one (experts may be
/// stored in as many formats and still share their tokens' rows).
std::optional<size_t> EarlierInput(std::span<const LinearJob> jobs, const std::vector<JobPlan>& plans, size_t j) {
  int64_t looked_at = 0;
  for (size_t i = j; i-- > 0 && looked_at < kDistinctInputs;) {
    if (!plans[i].first_of_input) continue;
    if (SameInput(jobs[j], jobs[i])) return i;
    ++looked_at;
  }
  return std::nullopt;
}

/// Gives each job its place in scratch and its units; returns the number of units.
int64_t PlanJobs(ExecContext& ctx, std::span<const LinearJob> jobs) {
  std::vector<JobPlan>& plans = ctx.job_plans();
  HADAL_CHECK(static_cast<int64_t>(jobs.size()) <= ctx.limits().jobs, "{} jobs, planned for {}", jobs.size(),
              ctx.limits().jobs);
  plans.clear();
  std::byte* free = ctx.shared();
  int64_t units = 0;
  for (size_t j = 0; j < jobs.size(); ++j) {
    const LinearJob& job = jobs[j];
    HADAL_CHECK(Serves(job.w->format, job.w->input), "weight format {} with input format {}",
                static_cast<int>(job.w->format), static_cast<int>(job.w->input));
    HADAL_CHECK_EQ(job.x.cols, job.w->in);
    HADAL_CHECK_EQ(job.y.cols, job.w->out);
    HADAL_CHECK(job.x_rows != nullptr || job.x.rows == job.y.rows, "{} rows into {}", job.x.rows, job.y.rows);
    JobPlan plan{ToPanelWeight(*job.w), nullptr, 0, units, true};
    const std::optional<size_t> same = EarlierInput(jobs, plans, j);
    if (same) {
      plan.first_of_input = false;
      plan.prepared = plans[*same].prepared;
      plan.row_bytes = plans[*same].row_bytes;
    } else {
      plan.prepared = free;
      plan.row_bytes = PreparedRowBytes(plan.weight, ctx.kernels().bf16_pairs);
      free += job.x.rows * plan.row_bytes;
    }
    if (job.y.rows > 0) units += (job.w->panel_count() + kUnitPanels - 1) / kUnitPanels;
    plans.push_back(plan);
  }
  HADAL_CHECK(static_cast<uint64_t>(free - ctx.shared()) <= ctx.shared_bytes(), "{} bytes of {} for prepared rows",
              free - ctx.shared(), ctx.shared_bytes());
  return units;
}

void PrepareInputs(ExecContext& ctx, std::span<const LinearJob> jobs) {
  const std::vector<JobPlan>& plans = ctx.job_plans();
  for (size_t j = 0; j < jobs.size(); ++j) {
    if (!plans[j].first_of_input) continue;
    const auto prepare = [&](int64_t t) {
      ctx.kernels().prepare(plans[j].weight, jobs[j].x.row(t),
                            const_cast<std::byte*>(plans[j].prepared) + t * plans[j].row_bytes);
    };
    if (jobs[j].x.rows * jobs[j].x.cols <= 1 << 14) {
      for (int64_t t = 0; t < jobs[j].x.rows; ++t) prepare(t);
    } else {
      ctx.pool().For(jobs[j].x.rows, [&](int64_t t, int) { prepare(t); });
    }
  }
}

void RunUnit(const ExecContext& ctx, const LinearJob& job, const JobPlan& plan, int64_t unit) {
  const int64_t first_panel = unit * kUnitPanels;
  const int64_t panels = std::min(kUnitPanels, job.w->panel_count() - first_panel);
  const void* rows[kRowChunk];
  float* outputs[kRowChunk];
  for (int64_t begin = 0; begin < job.y.rows; begin += kRowChunk) {
    const int64_t count = std::min(kRowChunk, job.y.rows - begin);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = job.x_rows ? job.x_rows[begin + i] : begin + i;
      rows[i] = plan.prepared + row * plan.row_bytes;
      outputs[i] = job.y.row(begin + i);
    }
    ctx.kernels().linear(plan.weight, rows, count, first_panel, panels, outputs);
  }
}

// Streams that the units of one loop are cut into at most; a pool of more threads takes units one by one.
constexpr int kMaxStreams = 128;

/// Units [next, end) that one thread takes in order, so that it reads one long stream of weights; whoever has
/// finished its own helps with the others'.
struct alignas(64) UnitStream {
  std::atomic<int64_t> next;
  int64_t end;
};

/// body(unit) once for each of `units`, on all threads, each reading as long a stretch of consecutive units as it can.
template <typename Body>
void ForStreams(ThreadPool& pool, int64_t units, Body&& body) {
  const int threads = pool.threads();
  if (threads == 1 || units <= 1 || threads > kMaxStreams) return pool.For(units, [&](int64_t u, int) { body(u); });
  UnitStream streams[kMaxStreams];
  for (int i = 0; i < threads; ++i) {
    streams[i].next.store(units * i / threads, std::memory_order_relaxed);
    streams[i].end = units * (i + 1) / threads;
  }
  pool.For(threads, [&](int64_t mine, int) {
    for (int i = 0; i < threads; ++i) {
      UnitStream& stream = streams[(mine + i) % threads];
      for (;;) {
        if (stream.next.load(std::memory_order_relaxed) >= stream.end) break;
        const int64_t unit = stream.next.fetch_add(1, std::memory_order_relaxed);
        if (unit >= stream.end) break;
        body(unit);
      }
    }
  });
}

}  // namespace

void Linears(ExecContext& ctx, std::span<const LinearJob> jobs) {
  const int64_t units = PlanJobs(ctx, jobs);
  PrepareInputs(ctx, jobs);
  const std::vector<JobPlan>& plans = ctx.job_plans();
  ForStreams(ctx.pool(), units, [&](int64_t unit) {
    // The last job that begins at or before this unit and has units at all.
    const auto after = std::upper_bound(plans.begin(), plans.end(), unit,
                                        [](int64_t u, const JobPlan& plan) { return u < plan.first_unit; });
    size_t j = static_cast<size_t>(after - plans.begin()) - 1;
    while (jobs[j].y.rows == 0) --j;
    RunUnit(ctx, jobs[j], plans[j], unit - plans[j].first_unit);
  });
}

void Linear(ExecContext& ctx, View<const float> x, const LinearWeight& w, View<float> y) {
  const LinearJob job{x, &w, y};
  Linears(ctx, {&job, 1});
}

}  // namespace hadal::ops
