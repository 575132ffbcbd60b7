#include "train/ops/attention.h"

#include "kernels/kernel_test_util.h"
#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

struct AttentionOp {
  AttentionShape s;
  std::vector<int32_t> first;

  AttentionOp(AttentionShape shape, const std::vector<int32_t>& documents) : s(shape) {
    for (int32_t length : documents)
      first.insert(first.end(), static_cast<size_t>(length), static_cast<int32_t>(first.size()));
  }
  int64_t rows() const { return static_cast<int64_t>(first.size()); }
  ScratchLimits limits() const { return {rows(), s.nope, s.rope, s.value}; }
  Vectors<double> inputs() const {
    Vectors<double> x{Random(rows() * s.heads * (s.nope + s.rope), 1),
                      Random(rows() * s.heads * (s.nope + s.value), 2), Random(rows() * s.rope, 3)};
    if (s.rope == 0) x.pop_back();
    return x;
  }
  int64_t outputs() const { return rows() * s.heads * s.value; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const std::vector<T> none;
    const View<const T> q = In(inputs[0], rows(), s.heads * (s.nope + s.rope));
    const View<const T> kv = In(inputs[1], rows(), s.heads * (s.nope + s.value));
    const View<const T> k_pe = In(s.rope > 0 ? inputs[2] : none, rows(), s.rope);
    OpResult<T> result;
    std::vector<T> lse, d_pe;
    const View<T> out = Out(result.output, rows(), s.heads * s.value), lse_view = Out(lse, rows(), s.heads);
    AttentionForward<T>(ctx, s, q, kv, k_pe, first.data(), out, lse_view);
    result.gradients.resize(2);
    result.gradients[0] = inputs[0];  // dq takes the place of q
    const View<T> dq(result.gradients[0].data(), q.rows, q.cols);
    AttentionBackward<T>(ctx, s, dq, kv, k_pe, first.data(), out, lse_view, In(upstream, rows(), out.cols),
                         dq, Out(result.gradients[1], kv.rows, kv.cols), Out(d_pe, k_pe.rows, k_pe.cols));
    if (s.rope > 0) result.gradients.push_back(d_pe);
    return result;
  }
};

std::vector<AttentionOp> Cases() {
  return {AttentionOp({1, 1, 0, 1, 0.7}, {2, 1}), AttentionOp({3, 5, 2, 3, 0.9}, {7}),
          AttentionOp({2, 16, 8, 16, 0.3}, {40, 1, 60, 3}), AttentionOp({3, 7, 4, 35, 1.3}, {150, 90})};
}

TEST(Attention, GradientsPrecisionAndThreads) {
  for (const AttentionOp& op : Cases()) {
    SCOPED_TRACE(testing::Message() << op.rows() << " rows, " << op.s.heads << " heads");
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).All(1e-5));
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).FloatAgainstDouble(3e-2, Compute::kBF16));
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).FloatAgainstDouble(5e-3, Compute::kF16));
  }
}

/// The formula as it reads.
std::vector<double> PlainAttention(const AttentionOp& op) {
  const AttentionShape& s = op.s;
  const Vectors<double> x = op.inputs();
  std::vector<double> out(static_cast<size_t>(op.outputs()));
  const auto at = [](const std::vector<double>& v, int64_t i) { return v[static_cast<size_t>(i)]; };
  for (int64_t h = 0; h < s.heads; ++h) {
    for (int64_t t = 0; t < op.rows(); ++t) {
      std::vector<double> weights;
      double sum = 0;
      for (int64_t u = op.first[static_cast<size_t>(t)]; u <= t; ++u) {
        double score = 0;
        for (int64_t i = 0; i < s.nope + s.rope; ++i)
          score += at(x[0], (t * s.heads + h) * (s.nope + s.rope) + i) *
                   (i < s.nope ? at(x[1], (u * s.heads + h) * (s.nope + s.value) + i)
                               : at(x[2], u * s.rope + i - s.nope));
        weights.push_back(std::exp(score * s.scale));
        sum += weights.back();
      }
      for (int64_t u = op.first[static_cast<size_t>(t)]; u <= t; ++u)
        for (int64_t c = 0; c < s.value; ++c)
          out[static_cast<size_t>((t * s.heads + h) * s.value + c)] +=
              weights[static_cast<size_t>(u - op.first[static_cast<size_t>(t)])] / sum *
              at(x[1], (u * s.heads + h) * (s.nope + s.value) + s.nope + c);
    }
  }
  return out;
}

TEST(Attention, ForwardIsTheFormula) {
  for (const AttentionOp& op : Cases()) {
    SCOPED_TRACE(testing::Message() << op.rows() << " rows");
    ASSERT_NO_FATAL_FAILURE(
        ExpectNear(OpChecks(op).Run<double>(2, Compute::kF64).output, PlainAttention(op), 1e-13, "output"));
  }
}

// Keys and values that the serving kernel decompresses from latents itself.
TEST(Attention, ForwardIsWhatServingComputes) {
  using testing_kernels::RandomWeight;
  constexpr int64_t kRows = 200, kNope = 24, kRope = 8, kValue = 20, kLatent = 40;
  const RandomWeight k_up({WeightFormat::kF32, InputFormat::kF32}, kNope, kLatent, 5);
  const RandomWeight v_up({WeightFormat::kF32, InputFormat::kF32}, kValue, kLatent, 6);
  const std::vector<float> cache = Cast<float>(Random(kRows * (kLatent + kRope), 7));
  const std::vector<float> q = Cast<float>(Random(kRows * (kNope + kRope), 8));
  const float scale = 0.1f;

  std::vector<const void*> rows;
  for (int64_t t = 0; t < kRows; ++t) rows.push_back(cache.data() + t * (kLatent + kRope));
  std::vector<float> scratch(static_cast<size_t>(PromptScratch(kRows, kNope, kRope, kValue, kLatent)));
  std::vector<float> served(kRows * kValue);
  PromptArgs a{q.data(), kNope + kRope, kRows,  0,       rows.data(), k_up.panel(), v_up.panel(),
               kNope,    kRope,         kValue, kLatent, false,       scale,        served.data(),
               kValue,   scratch.data()};
  CpuKernels(BestIsa()).attend_prompt(a);

  const TestContext context(1, Compute::kF32, {kRows, kNope, kRope, kValue});
  const View<const float> latents(cache.data(), kRows, kLatent, kLatent + kRope);
  const View<const float> k_pe(cache.data() + kLatent, kRows, kRope, kLatent + kRope);
  std::vector<float> kv, out, lse;
  const View<float> kv_view = Out(kv, kRows, kNope + kValue);
  Gemm<float>(*(*context).gemm, Compute::kF32, {latents}, {In(k_up.codes, kNope, kLatent), true},
              kv_view.Cols(0, kNope), false);
  Gemm<float>(*(*context).gemm, Compute::kF32, {latents}, {In(v_up.codes, kValue, kLatent), true},
              kv_view.Cols(kNope, kValue), false);
  const std::vector<int32_t> first(kRows, 0);
  AttentionForward<float>(*context, {1, kNope, kRope, kValue, scale}, In(q, kRows, kNope + kRope), kv_view,
                          k_pe, first.data(), Out(out, kRows, kValue), Out(lse, kRows, 1));
  ASSERT_NO_FATAL_FAILURE(
      ExpectNear(out, std::vector<double>(served.begin(), served.end()), 2e-5, "training against serving"));
}

// Operands inside wider rows: nothing is written beside them.
TEST(Attention, KeepsToItsColumns) {
  const AttentionOp op({2, 5, 2, 3, 0.5}, {130, 20});
  const OpResult<float> want = OpChecks(op).Run<float>(1, Compute::kF32);
  const TestContext context(1, Compute::kF32, op.limits());
  const auto widened = [&](const std::vector<float>& x, int64_t cols) {
    std::vector<float> wide(static_cast<size_t>(op.rows() * (cols + 3)), -7.0f);
    for (int64_t t = 0; t < op.rows(); ++t)
      std::copy_n(x.data() + t * cols, cols, wide.data() + t * (cols + 3));
    return wide;
  };
  const auto view = [&](std::vector<float>& x, int64_t cols) {
    return View<float>(x.data(), op.rows(), cols, cols + 3);
  };
  std::vector<float> q = widened(Cast<float>(op.inputs()[0]), 14),
                     kv = widened(Cast<float>(op.inputs()[1]), 16);
  std::vector<float> pe = widened(Cast<float>(op.inputs()[2]), 2), out = widened(want.output, 6),
                     lse = widened(std::vector<float>(static_cast<size_t>(op.rows() * 2)), 2);
  std::vector<float> dout = widened(Cast<float>(Random(op.outputs(), 77)), 6), dq = q, dkv = kv, dpe = pe;
  AttentionForward<float>(*context, op.s, view(q, 14), view(kv, 16), view(pe, 2), op.first.data(),
                          view(out, 6), view(lse, 2));
  AttentionBackward<float>(*context, op.s, view(q, 14), view(kv, 16), view(pe, 2), op.first.data(),
                           view(out, 6), view(lse, 2), view(dout, 6), view(dq, 14), view(dkv, 16),
                           view(dpe, 2));
  EXPECT_EQ(out, widened(want.output, 6));
  EXPECT_EQ(dq, widened(want.gradients[0], 14));
  EXPECT_EQ(dkv, widened(want.gradients[1], 16));
  EXPECT_EQ(dpe, widened(want.gradients[2], 2));
}

}  // namespace
}  // namespace hadal::train
