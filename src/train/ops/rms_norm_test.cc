#include "train/ops/rms_norm.h"

#include "kernels/kernel_table.h"
#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

struct RmsNormOp {
  int64_t tokens, width;

  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(tokens * width, 1), Random(width, 2)}; }
  int64_t outputs() const { return tokens * width; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const View<const T> x = In(inputs[0], tokens, width), dy = In(upstream, tokens, width);
    OpResult<T> result;
    std::vector<T> rstd(static_cast<size_t>(tokens));
    RmsNormForward<T>(ctx, x, inputs[1].data(), 1e-3, Out(result.output, tokens, width), rstd.data());
    result.gradients.resize(2);
    result.gradients[1].assign(static_cast<size_t>(width), T{0});
    RmsNormBackward<T>(ctx, dy, x, inputs[1].data(), rstd.data(), Out(result.gradients[0], tokens, width),
                       false, result.gradients[1].data());
    return result;
  }
};

TEST(RmsNorm, GradientsPrecisionAndThreads) {
  for (const RmsNormOp& op : {RmsNormOp{2, 3}, RmsNormOp{5, 17}, RmsNormOp{301, 131}}) {
    SCOPED_TRACE(testing::Message() << op.tokens << " rows of " << op.width);
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).All(5e-6));
  }
}

TEST(RmsNorm, GradientsAddToWhatIsThereAndMayTakeThePlaceOfDy) {
  const RmsNormOp op{6, 35};
  const OpResult<double> plain = OpChecks(op).Run<double>(1, Compute::kF64);
  const TestContext context(1, Compute::kF64);
  const std::vector<double> x = op.inputs()[0], w = op.inputs()[1], dy = Random(6 * 35, 77);
  std::vector<double> y, rstd(6), dx(6 * 35, 2.0), dw(35, 3.0), in_place = dy, again(35, 0.0);
  RmsNormForward<double>(*context, In(x, 6, 35), w.data(), 1e-3, Out(y, 6, 35), rstd.data());
  RmsNormBackward<double>(*context, In(dy, 6, 35), In(x, 6, 35), w.data(), rstd.data(),
                          View<double>(dx.data(), 6, 35), true, dw.data());
  const View<double> same(in_place.data(), 6, 35);
  RmsNormBackward<double>(*context, same, In(x, 6, 35), w.data(), rstd.data(), same, false, again.data());
  for (size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(dx[i], plain.gradients[0][i] + 2, 1e-14);
  for (size_t i = 0; i < dw.size(); ++i) EXPECT_NEAR(dw[i], plain.gradients[1][i] + 3, 1e-14);
  EXPECT_EQ(in_place, plain.gradients[0]);
  EXPECT_EQ(again, plain.gradients[1]);
}

TEST(RmsNorm, ForwardIsWhatServingComputes) {
  for (int64_t width : {1, 16, 47, 512}) {
    for (Isa isa : AvailableIsas()) {
      const TestContext context(1, Compute::kF32, {}, isa);
      const std::vector<float> x = Cast<float>(Random(3 * width, 3)), w = Cast<float>(Random(width, 4));
      std::vector<float> y, rstd(3), served(static_cast<size_t>(width));
      RmsNormForward<float>(*context, In(x, 3, width), w.data(), 1e-5, Out(y, 3, width), rstd.data());
      for (int64_t t = 0; t < 3; ++t) {
        CpuKernels(isa).rms_norm(x.data() + t * width, w.data(), 1e-5f, width, served.data());
        for (int64_t i = 0; i < width; ++i) {
          const float got = y[static_cast<size_t>(t * width + i)], want = served[static_cast<size_t>(i)];
          if (width % 16 == 0)
            ASSERT_EQ(got, want);
          else  // the tail is summed in other places
            ASSERT_NEAR(got, want, 1e-6f);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hadal::train
