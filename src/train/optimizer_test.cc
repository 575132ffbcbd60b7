#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "parallel/thread_communicator.h"
#include "train/ops/op_test_util.h"
#include "train/train_test_util.h"

namespace hadal::train {
namespace {

template <typename T>
struct State {
  std::vector<T> m, v, w;
  bool operator==(const State&) const = default;
};

/// The formulas of AdamW, element by element.
template <typename T>
State<T> Plain(const AdamWFactors<T>& f, const std::vector<T>& g, State<T> s) {
  for (size_t i = 0; i < g.size(); ++i) {
    const T x = g[i] * f.scale;
    s.m[i] = f.beta1 * s.m[i] + (1 - f.beta1) * x;
    s.v[i] = f.beta2 * s.v[i] + (1 - f.beta2) * x * x;
    s.w[i] = f.keep * s.w[i] - f.rate * (s.m[i] * f.correct1) / (std::sqrt(s.v[i] * f.correct2) + f.epsilon);
  }
  return s;
}

template <typename T>
double PlainSquares(const std::vector<T>& x) {
  double lanes[8] = {}, sum = 0;
  const size_t whole = x.size() / 8 * 8;
  for (size_t i = 0; i < x.size(); ++i)
    lanes[i < whole ? i % 8 : 0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

template <typename T>
void CheckKernels(Isa isa, int64_t width) {
  SCOPED_TRACE(testing::Message() << IsaName(isa) << ", " << width << " elements of " << sizeof(T)
                                  << " bytes");
  const RowKernels<T>& rows = RowsOf<T>(CpuRows(isa));
  const AdamWFactors<T> f{.scale = T(0.37),
                          .beta1 = T(0.9),
                          .beta2 = T(0.95),
                          .correct1 = T(3.7),
                          .correct2 = T(7.1),
                          .rate = T(1e-3),
                          .epsilon = T(1e-8),
                          .keep = T(1 - 1e-4)};
  const std::vector<T> g = Cast<T>(Random(width, 1));
  State<T> state{Cast<T>(Random(width, 2)), Cast<T>(Random(width, 3)), Cast<T>(Random(width, 4))};
  for (T& v : state.v) v = std::abs(v);
  const State<T> want = Plain(f, g, state);
  rows.adamw(f, g.data(), width, state.m.data(), state.v.data(), state.w.data());
  EXPECT_EQ(state, want);
  EXPECT_EQ(rows.sum_squares(g.data(), width), PlainSquares(g));
}

TEST(AdamW, EveryInstructionSetGivesTheBitsOfThePlainFormulas) {
  for (const Isa isa : AvailableIsas())
    for (const int64_t width : {0, 1, 7, 8, 15, 16, 17, 31, 64, 1000}) {
      CheckKernels<float>(isa, width);
      CheckKernels<double>(isa, width);
    }
}

/// Two replicas' step in which every gradient is the same.
struct Stepped {
  double norm = 0;
  bool skipped = false;
  std::vector<float> values;
};
Stepped StepOfTwo(GradientCompression compression, float gradient) {
  Stepped out;
  std::mutex mutex;
  const Status done = RunRanks(2, std::chrono::seconds(60), [&](Communicator& world) -> Status {
    ASSIGN_OR_RETURN(const auto mesh, ProcessMesh::Create(world, {.data = 2}));
    ThreadPool pool(1);
    ASSIGN_OR_RETURN(const auto params, ParameterSet<float>::Create(SmallConfig(), *mesh));
    ASSIGN_OR_RETURN(const auto adam, AdamW<float>::Create(*params, *mesh, {}, compression));
    for (const auto& group : {params->dense(), params->experts()}) std::ranges::fill(group.grads, gradient);
    ASSIGN_OR_RETURN(const UpdateReport report, adam->Step(pool, 0.5, 1));
    const std::lock_guard lock(mutex);
    out.norm = report.gradient_norm;
    out.skipped = report.skipped;
    const auto values = params->dense().values;
    if (out.values.empty()) out.values.assign(values.begin(), values.end());
    return std::ranges::equal(values, out.values) ? Status() : DataLoss("the replicas differ");
  });
  EXPECT_TRUE(done) << done.error().message;
  return out;
}

TEST(AdamW, CompressedGradientsOverflowNowhere) {
  const Stepped plain = StepOfTwo(GradientCompression::kNone, 1e6f);
  ASSERT_FALSE(plain.skipped);
  EXPECT_LT(plain.values[0], -0.4f);
  for (const auto compression : {GradientCompression::kFP16, GradientCompression::kBF16}) {
    // 1e6 is beyond what FP16 holds, 1e-9 below it.
    for (const float gradient : {1e6f, 1e-9f}) {
      const Stepped sent = StepOfTwo(compression, gradient);
      EXPECT_FALSE(sent.skipped);
      EXPECT_NEAR(sent.norm / static_cast<double>(gradient), plain.norm / 1e6, plain.norm / 1e6 / 200);
    }
    EXPECT_TRUE(StepOfTwo(compression, INFINITY).skipped) << "what is infinite before stays so";
  }
}

}  // namespace
}  // namespace hadal::train
