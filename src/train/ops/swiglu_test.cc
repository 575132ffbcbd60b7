#include "train/ops/swiglu.h"

#include "kernels/kernel_table.h"
#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

struct SwiGluOp {
  int64_t tokens, width;

  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const {
    Vectors<double> x{Random(outputs(), 1), Random(outputs(), 2)};
    for (double& g : x[0]) g *= 4;
    return x;
  }
  int64_t outputs() const { return tokens * width; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const View<const T> gate = In(inputs[0], tokens, width), up = In(inputs[1], tokens, width);
    OpResult<T> result;
    SwiGluForward<T>(ctx, gate, up, Out(result.output, tokens, width));
    result.gradients = {inputs[0], inputs[1]};  // in place of gate and up
    SwiGluBackward<T>(ctx, In(upstream, tokens, width), In(result.gradients[0], tokens, width),
                      In(result.gradients[1], tokens, width),
                      View<T>(result.gradients[0].data(), tokens, width),
                      View<T>(result.gradients[1].data(), tokens, width));
    return result;
  }
};

TEST(SwiGlu, GradientsPrecisionAndThreads) {
  for (const SwiGluOp& op : {SwiGluOp{1, 1}, SwiGluOp{3, 37}, SwiGluOp{200, 129}})
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).All(2e-6));
}

TEST(SwiGlu, ForwardIsWhatServingComputesBitForBit) {
  for (Isa isa : AvailableIsas()) {
    const SwiGluOp op{2, 75};
    const OpResult<float> got = OpChecks(op).Run<float>(1, Compute::kF32, isa);
    const std::vector<float> gate = Cast<float>(op.inputs()[0]), up = Cast<float>(op.inputs()[1]);
    std::vector<float> want(150);
    for (int64_t t = 0; t < 2; ++t)
      CpuKernels(isa).swiglu(gate.data() + t * 75, up.data() + t * 75, 75, want.data() + t * 75);
    EXPECT_EQ(got.output, want) << IsaName(isa);
  }
}

TEST(SwiGlu, LargeGatesStayFinite) {
  const TestContext context(1);
  const std::vector<float> gate{-1e4f, -100, 100, 1e4f}, ones(4, 1.0f);
  std::vector<float> h, dgate, dup;
  SwiGluForward<float>(*context, In(gate, 1, 4), In(ones, 1, 4), Out(h, 1, 4));
  SwiGluBackward<float>(*context, In(ones, 1, 4), In(gate, 1, 4), In(ones, 1, 4), Out(dgate, 1, 4),
                        Out(dup, 1, 4));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(h[i], i < 2 ? 0 : gate[i]);
    EXPECT_FLOAT_EQ(dgate[i], i < 2 ? 0 : 1);
    EXPECT_FLOAT_EQ(dup[i], i < 2 ? 0 : gate[i]);
  }
}

TEST(Add, AddsRows) {
  const TestContext context(3);
  const std::vector<float> x = Cast<float>(Random(300 * 77, 1));
  std::vector<float> y = Cast<float>(Random(300 * 77, 2)), want = y;
  for (size_t i = 0; i < want.size(); ++i) want[i] += x[i];
  Add<float>(*context, In(x, 300, 77), View<float>(y.data(), 300, 77));
  EXPECT_EQ(y, want);
}

}  // namespace
}  // namespace hadal::train
