#include "train/ops/dispatch.h"

#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

constexpr int64_t kTokens = 43, kChoices = 3, kExperts = 7;

/// Each token chooses three experts; expert 0 is everybody's.
std::vector<int32_t> Ids() {
  std::vector<int32_t> ids;
  for (int32_t t = 0; t < kTokens; ++t)
    for (int32_t id : {1 + t % 3, 0, 4 + t * t % 3}) ids.push_back(id);
  return ids;
}

/// Gather, an expert that scales its rows, Combine: what the routed part of a layer does.
struct DispatchOp {
  int64_t capacity;
  int64_t width = 21;

  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(kTokens * width, 1), Random(kTokens * kChoices, 2)}; }
  int64_t outputs() const { return kTokens * width; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    DispatchPlan plan(kTokens, kChoices, kExperts);
    const std::vector<int32_t> ids = Ids();
    plan.Build(In(ids, kTokens, kChoices), capacity);
    const View<const T> x = In(inputs[0], kTokens, width), weights = In(inputs[1], kTokens, kChoices);
    std::vector<T> rows;
    const View<T> y = Out(rows, plan.rows(), width);
    Gather<T>(ctx, plan, x, y);
    const auto expert = [&](const View<T>& v) {
      for (int64_t e = 0; e < kExperts; ++e)
        for (int64_t row = plan.offsets()[static_cast<size_t>(e)];
             row < plan.offsets()[static_cast<size_t>(e) + 1]; ++row)
          for (int64_t i = 0; i < width; ++i) v.at(row, i) *= static_cast<T>(e + 2);
    };
    expert(y);
    OpResult<T> result;
    Combine<T>(ctx, plan, y, weights, Out(result.output, kTokens, width), false);
    result.gradients.resize(2);
    CombineBackward<T>(ctx, plan, In(upstream, kTokens, width), y, weights, y,
                       Out(result.gradients[1], kTokens, kChoices));
    expert(y);
    GatherBackward<T>(ctx, plan, y, Out(result.gradients[0], kTokens, width), false);
    return result;
  }
};

TEST(Dispatch, GradientsPrecisionAndThreads) {
  for (int64_t capacity : {0, 5}) ASSERT_NO_FATAL_FAILURE(OpChecks(DispatchOp{capacity}).All(2e-6));
}

TEST(DispatchPlan, SortsByExpertThenToken) {
  DispatchPlan plan(10, 2, 4);
  const std::vector<int32_t> ids{2, 0, 2, 3, 0, 2};
  plan.Build(In(ids, 3, 2), 0);
  EXPECT_EQ(std::vector<int32_t>(plan.offsets().begin(), plan.offsets().end()),
            (std::vector<int32_t>{0, 2, 2, 5, 6}));
  EXPECT_EQ(std::vector<int32_t>(plan.tokens().begin(), plan.tokens().end()),
            (std::vector<int32_t>{0, 2, 0, 1, 2, 1}));
  EXPECT_EQ(std::vector<int32_t>(plan.choices().begin(), plan.choices().end()),
            (std::vector<int32_t>{1, 0, 0, 0, 1, 1}));
  EXPECT_EQ(std::vector<int32_t>(plan.places().data, plan.places().data + 6),
            (std::vector<int32_t>{2, 0, 3, 5, 1, 4}));
  EXPECT_EQ(plan.dropped(), 0);
}

TEST(DispatchPlan, DropsTheLastTokensBeyondCapacity) {
  DispatchPlan plan(kTokens, kChoices, kExperts);
  const std::vector<int32_t> ids = Ids();
  plan.Build(In(ids, kTokens, kChoices), 5);
  EXPECT_EQ(plan.rows() + plan.dropped(), kTokens * kChoices);
  EXPECT_EQ(plan.offsets()[1], 5);  // expert 0 keeps tokens 0 to 4
  for (int64_t t = 0; t < kTokens; ++t) EXPECT_EQ(plan.places().at(t, 1), t < 5 ? t : -1);
}

TEST(DispatchPlan, LeavesOtherRanksExpertsAlone) {
  DispatchPlan plan(3, 2, 2);  // experts 2 and 3 are here
  const std::vector<int32_t> ids{2, 0, 2, 3, 0, 2};
  plan.Build(In(ids, 3, 2), 2, 2);
  EXPECT_EQ(std::vector<int32_t>(plan.places().data, plan.places().data + 6),
            (std::vector<int32_t>{0, -1, 1, 2, -1, -1}));
  EXPECT_EQ(plan.dropped(), 1);  // the third copy for expert 2
}

TEST(Combine, AddsToWhatIsThere) {
  DispatchPlan plan(2, 1, 2);
  const std::vector<int32_t> ids{1, 0};
  plan.Build(In(ids, 2, 1), 0);
  const std::vector<float> y{10, 20}, weights{0.5f, 2};
  std::vector<float> out{1, 1}, dx{5, 5};
  const TestContext context(1);
  Combine<float>(*context, plan, In(y, 2, 1), In(weights, 2, 1), View<float>(out.data(), 2, 1), true);
  EXPECT_EQ(out, (std::vector<float>{11, 21}));
  GatherBackward<float>(*context, plan, In(y, 2, 1), View<float>(dx.data(), 2, 1), true);
  EXPECT_EQ(dx, (std::vector<float>{25, 15}));
}

}  // namespace
}  // namespace hadal::train
