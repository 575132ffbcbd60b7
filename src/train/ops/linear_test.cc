#include "train/ops/linear.h"

#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

struct LinearOp {
  int64_t tokens, in, out;

  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(tokens * in, 1), Random(out * in, 2)}; }
  int64_t outputs() const { return tokens * out; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const View<const T> x = In(inputs[0], tokens, in), w = In(inputs[1], out, in),
                        dy = In(upstream, tokens, out);
    OpResult<T> result;
    LinearForward<T>(ctx, x, w, Out(result.output, tokens, out));
    result.gradients.resize(2);
    LinearBackwardInput<T>(ctx, dy, w, Out(result.gradients[0], tokens, in), false);
    result.gradients[1].assign(static_cast<size_t>(out * in), T{0});
    LinearBackwardWeight<T>(ctx, dy, x, View<T>(result.gradients[1].data(), out, in));
    return result;
  }
};

TEST(Linear, GradientsPrecisionAndThreads) {
  for (const LinearOp& op : {LinearOp{1, 1, 1}, LinearOp{7, 13, 5}, LinearOp{30, 65, 33}}) {
    SCOPED_TRACE(testing::Message() << op.tokens << " tokens, " << op.in << " to " << op.out);
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).All(2e-6));
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).FloatAgainstDouble(2e-2, Compute::kBF16));
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).FloatAgainstDouble(3e-3, Compute::kF16));
  }
}

/// Groups of these sizes, as many experts' tokens.
struct GroupedOp {
  std::vector<int32_t> offsets;
  int64_t in, out;

  int64_t rows() const { return offsets.back(); }
  int64_t groups() const { return static_cast<int64_t>(offsets.size()) - 1; }
  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(rows() * in, 1), Random(groups() * out * in, 2)}; }
  int64_t outputs() const { return rows() * out; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const View<const T> x = In(inputs[0], rows(), in), dy = In(upstream, rows(), out);
    OpResult<T> result;
    result.gradients.resize(2);
    result.gradients[1].assign(inputs[1].size(), T{0});
    std::vector<View<const T>> w;
    std::vector<View<T>> dw;
    for (int64_t g = 0; g < groups(); ++g) {
      w.emplace_back(inputs[1].data() + g * out * in, out, in);
      dw.emplace_back(result.gradients[1].data() + g * out * in, out, in);
    }
    GroupedLinearForward<T>(ctx, x, offsets, w, Out(result.output, rows(), out));
    GroupedLinearBackwardInput<T>(ctx, dy, offsets, w, Out(result.gradients[0], rows(), in), false);
    GroupedLinearBackwardWeight<T>(ctx, dy, x, offsets, dw);
    return result;
  }
};

TEST(GroupedLinear, GradientsPrecisionAndThreads) {
  const GroupedOp op{{0, 3, 3, 4, 21, 26, 27, 29, 29, 40}, 11, 19};
  ASSERT_NO_FATAL_FAILURE(OpChecks(op).All(2e-6));
}

// More groups than run together, and fewer than threads share: each group gives what Linear gives alone.
TEST(GroupedLinear, EachGroupEqualsLinearBitForBit) {
  for (int64_t groups : {2, 150}) {
    GroupedOp op{{0}, 33, 21};
    for (int64_t g = 0; g < groups; ++g)
      op.offsets.push_back(op.offsets.back() + static_cast<int32_t>(g % 5));
    for (int threads : {1, 3}) {
      const OpResult<float> together = OpChecks(op).Run<float>(threads, Compute::kBF16);
      const TestContext context(threads, Compute::kBF16);
      const std::vector<float> x = Cast<float>(op.inputs()[0]), w = Cast<float>(op.inputs()[1]);
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = op.offsets[static_cast<size_t>(g)], count = g % 5;
        std::vector<float> alone;
        LinearForward<float>(*context, View<const float>(x.data() + first * 33, count, 33),
                             View<const float>(w.data() + g * 21 * 33, 21, 33), Out(alone, count, 21));
        ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.output.begin() + first * 21))
            << "group " << g;
      }
    }
  }
}

TEST(Linear, GradientsAddToWhatIsThere) {
  const LinearOp op{5, 7, 3};
  const OpResult<double> plain = OpChecks(op).Run<double>(1, Compute::kF64);
  const TestContext context(1, Compute::kF64);
  const std::vector<double> dy = Random(15, 77), x = op.inputs()[0], w = op.inputs()[1];
  std::vector<double> dx(35, 1.0), dw(21, 1.0);
  LinearBackwardInput<double>(*context, In(dy, 5, 3), In(w, 3, 7), View<double>(dx.data(), 5, 7), true);
  LinearBackwardWeight<double>(*context, In(dy, 5, 3), In(x, 5, 7), View<double>(dw.data(), 3, 7));
  for (size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(dx[i], plain.gradients[0][i] + 1, 1e-14);
  for (size_t i = 0; i < dw.size(); ++i) EXPECT_NEAR(dw[i], plain.gradients[1][i] + 1, 1e-14);
}

// The router's product: unrounded whatever the context's format.
TEST(Linear, ExactContextDoesNotRoundFactors) {
  const LinearOp op{9, 40, 6};
  const std::vector<float> x = Cast<float>(op.inputs()[0]), w = Cast<float>(op.inputs()[1]);
  std::vector<float> exact, wide, rounded;
  const TestContext bf16(1, Compute::kBF16), f32(1, Compute::kF32);
  LinearForward<float>((*bf16).Exact(), In(x, 9, 40), In(w, 6, 40), Out(exact, 9, 6));
  LinearForward<float>(*f32, In(x, 9, 40), In(w, 6, 40), Out(wide, 9, 6));
  LinearForward<float>(*bf16, In(x, 9, 40), In(w, 6, 40), Out(rounded, 9, 6));
  EXPECT_EQ(exact, wide);
  EXPECT_NE(exact, rounded);
}

}  // namespace
}  // namespace hadal::train
