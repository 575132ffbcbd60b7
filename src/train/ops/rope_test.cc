#include "train/ops/rope.h"

#include "kernels/kernel_table.h"
#include "model/rope.h"
#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

RopeConfig Yarn() {
  RopeConfig rope;
  rope.yarn = true;
  rope.factor = 40;
  rope.mscale = 1;
  rope.mscale_all_dim = 0.5;  // cosines and sines have a factor
  return rope;
}

constexpr int64_t kPositions = 200;

/// Heads of 3 columns that stay and 6 that turn, and a column that ends the row.
struct RopeOp {
  int64_t tokens = 29, heads = 3;

  std::vector<int32_t> positions() const {
    std::vector<int32_t> p;
    for (int64_t t = 0; t < tokens; ++t) p.push_back(static_cast<int32_t>(t * 37 % kPositions));
    return p;
  }
  int64_t width() const { return heads * 9 + 1; }
  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(outputs(), 1)}; }
  int64_t outputs() const { return tokens * width(); }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const RotaryTable<T> table(Yarn(), 6, kPositions);
    OpResult<T> result{inputs[0], {upstream}};
    const std::vector<int32_t> at = positions();
    Rotate<T>(ctx, table, at.data(), heads, 3, 9, Turn::kForward,
              View<T>(result.output.data(), tokens, width()));
    Rotate<T>(ctx, table, at.data(), heads, 3, 9, Turn::kBackward,
              View<T>(result.gradients[0].data(), tokens, width()));
    return result;
  }
};

TEST(Rope, GradientsPrecisionAndThreads) { ASSERT_NO_FATAL_FAILURE(OpChecks(RopeOp()).All(1e-6)); }

TEST(Rope, ForwardIsWhatServingComputesBitForBit) {
  const RopeOp op;
  const OpResult<float> got = OpChecks(op).Run<float>(2, Compute::kF32);
  const RopeAngles served(Yarn(), 6, kPositions);
  std::vector<float> want = Cast<float>(op.inputs()[0]);
  const std::vector<int32_t> positions = op.positions();
  for (int64_t t = 0; t < op.tokens; ++t)
    for (int64_t h = 0; h < op.heads; ++h)
      CpuKernels(BestIsa()).rope(want.data() + t * op.width() + 3 + h * 9,
                                 served.cos_row(positions[static_cast<size_t>(t)]),
                                 served.sin_row(positions[static_cast<size_t>(t)]), 3);
  EXPECT_EQ(got.output, want);
}

}  // namespace
}  // namespace hadal::train
