// What the ops' tests share: a context, random operands, and the three checks that every op must pass.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "base/rng.h"
#include "train/ops/context.h"

namespace hadal::train {

/// Pool, products and scratch of an OpContext.
class TestContext {
 public:
  explicit TestContext(int threads, Compute compute = Compute::kF32, ScratchLimits limits = {},
                       Isa isa = BestIsa())
      : pool_(threads),
        gemm_(GemmContext::Create(CpuGemm(isa), pool_).value()),
        scratch_(OpScratch::Create(limits, threads).value()),
        ctx_{&gemm_, &scratch_, &CpuRows(isa), compute} {}
  const OpContext& operator*() const { return ctx_; }

 private:
  ThreadPool pool_;
  GemmContext gemm_;
  OpScratch scratch_;
  OpContext ctx_;
};

template <typename T>
using Vectors = std::vector<std::vector<T>>;

/// Uniform in [-1, 1), floats all.
inline std::vector<double> Random(int64_t count, uint64_t seed) {
  std::vector<double> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<double>(static_cast<int32_t>(PhiloxAt(seed, 0, i)[0]) >> 8) * 0x1p-23;
  return x;
}

template <typename T>
std::vector<T> Cast(const std::vector<double>& x) {
  return std::vector<T>(x.begin(), x.end());
}

template <typename T>
View<const T> In(const std::vector<T>& x, int64_t rows, int64_t cols) {
  HADAL_CHECK_EQ(static_cast<int64_t>(x.size()), rows * cols);
  return {x.data(), rows, cols};
}
/// x resized to [rows, cols], NaN: an op must set every element.
template <typename T>
View<T> Out(std::vector<T>& x, int64_t rows, int64_t cols) {
  x.assign(static_cast<size_t>(rows * cols), std::numeric_limits<T>::quiet_NaN());
  return {x.data(), rows, cols};
}

/// What one run of an op gives: its output, and the gradients of <upstream, output> for each input.
template <typename T>
struct OpResult {
  std::vector<T> output;
  Vectors<T> gradients;

  bool operator==(const OpResult&) const = default;
};

template <typename T>
double Largest(const std::vector<T>& x) {
  double most = 0;
  for (T v : x) most = std::max(most, std::fabs(static_cast<double>(v)));
  return most;
}

/// |got - want| <= bound * the largest of want.
template <typename T>
void ExpectNear(const std::vector<T>& got, const std::vector<double>& want, double bound, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  const double allowed = bound * Largest(want);
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], allowed) << what << " at " << i;
}

template <typename T>
double Dot(const std::vector<T>& a, const std::vector<T>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

/// Op: limits(), inputs(), outputs() (how many numbers), and run<T>(ctx, inputs, upstream) -> OpResult<T>.
template <typename Op>
class OpChecks {
 public:
  explicit OpChecks(const Op& op) : op_(op), inputs_(op.inputs()), upstream_(Random(op.outputs(), 77)) {}

  /// Every gradient in double against central differences, relative to the largest of its input.
  void CentralDifferences(double bound = 1e-8) const {
    const OpResult<double> result = Run<double>(1, Compute::kF64);
    ASSERT_EQ(result.gradients.size(), inputs_.size());
    const TestContext context(1, Compute::kF64, Limits());
    for (size_t input = 0; input < inputs_.size(); ++input) {
      const std::vector<double>& gradient = result.gradients[input];
      ASSERT_EQ(gradient.size(), inputs_[input].size()) << "input " << input;
      ASSERT_GT(Largest(gradient), 0) << "input " << input;
      const size_t stride = std::max<size_t>(1, gradient.size() / 150);
      for (size_t i = 0; i < gradient.size(); i += stride) {
        Vectors<double> moved = inputs_;
        const double step = 1e-5, x = inputs_[input][i];
        moved[input][i] = x + step;
        const double up = Dot(op_.template run<double>(*context, moved, upstream_).output, upstream_);
        moved[input][i] = x - step;
        const double down = Dot(op_.template run<double>(*context, moved, upstream_).output, upstream_);
        ASSERT_NEAR((up - down) / (2 * step), gradient[i], bound * std::max(1.0, Largest(gradient)))
            << "input " << input << " at " << i;
      }
    }
  }

  /// Float against double on the same inputs: output and gradients, relative to the largest of each.
  void FloatAgainstDouble(double bound, Compute compute = Compute::kF32) const {
    const OpResult<double> want = Run<double>(1, Compute::kF64);
    for (Isa isa : AvailableIsas()) {
      SCOPED_TRACE(IsaName(isa));
      const OpResult<float> got = Run<float>(1, compute, isa);
      ASSERT_NO_FATAL_FAILURE(ExpectNear(got.output, want.output, bound, "output"));
      ASSERT_EQ(got.gradients.size(), want.gradients.size());
      for (size_t i = 0; i < want.gradients.size(); ++i) {
        SCOPED_TRACE(testing::Message() << "gradient of input " << i);
        ASSERT_NO_FATAL_FAILURE(ExpectNear(got.gradients[i], want.gradients[i], bound, "gradient"));
      }
    }
  }

  /// The same bits for 1 to 3 threads, in every format.
  void SameBitsForAnyThreads() const {
    for (int threads : {2, 3}) {
      EXPECT_TRUE(Run<double>(threads, Compute::kF64) == Run<double>(1, Compute::kF64))
          << threads << " threads, f64";
      for (Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16})
        EXPECT_TRUE(Run<float>(threads, compute) == Run<float>(1, compute))
            << threads << " threads, compute " << static_cast<int>(compute);
    }
  }

  void All(double float_bound) const {
    ASSERT_NO_FATAL_FAILURE(CentralDifferences());
    ASSERT_NO_FATAL_FAILURE(FloatAgainstDouble(float_bound));
    ASSERT_NO_FATAL_FAILURE(SameBitsForAnyThreads());
  }

  template <typename T>
  OpResult<T> Run(int threads, Compute compute, Isa isa = BestIsa()) const {
    const TestContext context(threads, compute, Limits(), isa);
    Vectors<T> inputs;
    for (const std::vector<double>& x : inputs_) inputs.push_back(Cast<T>(x));
    return op_.template run<T>(*context, inputs, Cast<T>(upstream_));
  }

 private:
  ScratchLimits Limits() const {
    ScratchLimits limits = op_.limits();
    limits.f64 = true;
    return limits;
  }

  const Op& op_;
  const Vectors<double> inputs_;
  const std::vector<double> upstream_;
};

}  // namespace hadal::train
