// Not tests but measurements, to be asked for: --gtest_also_run_disabled_tests
// --gtest_filter='ShareOfPeak.*'.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "kernels/limits.h"
#include "train/ops/attention.h"
#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

/// The median over passes of operations a second by `run`, over what the processor can do at the same time.
template <typename Run>
double MedianShare(const LimitProbe& probe, Compute compute, double operations, Run&& run) {
  std::vector<double> shares;
  for (int pass = 0; pass < 7; ++pass) {
    const MachineLimits limits = probe.Measure();
    std::vector<double> seconds;
    for (int i = 0; i < 9; ++i) {
      const auto start = std::chrono::steady_clock::now();
      run();
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
    const double peak =
        compute == Compute::kBF16 && limits.bf16_gflops > 0 ? limits.bf16_gflops : limits.f32_gflops;
    shares.push_back(operations / seconds[4] / 1e9 / peak);
  }
  std::nth_element(shares.begin(), shares.begin() + 3, shares.end());
  return shares[3];
}

const char* NameOf(Compute compute) { return compute == Compute::kBF16 ? "bf16" : "f32"; }

TEST(ShareOfPeak, DISABLED_Gemm) {
  struct Shape {
    int64_t m, n, k;
    bool transpose_a, transpose_b;
  };
  for (int threads : {1, 2}) {
    ThreadPool pool(threads);
    const LimitProbe probe = LimitProbe::Create(pool, uint64_t{1} << 20).value();
    GemmContext context = GemmContext::Create(CpuGemm(BestIsa()), pool).value();
    for (Compute compute : {Compute::kBF16, Compute::kF32}) {
      for (const Shape& s : {Shape{1024, 1024, 1024, false, true}, Shape{2048, 512, 512, false, true},
                             Shape{2048, 512, 512, false, false}, Shape{512, 512, 2048, true, false}}) {
        const std::vector<float> a = Cast<float>(Random(s.m * s.k, 1)), b = Cast<float>(Random(s.k * s.n, 2));
        std::vector<float> c(static_cast<size_t>(s.m * s.n));
        const Factor<float> fa{s.transpose_a ? In(a, s.k, s.m) : In(a, s.m, s.k), s.transpose_a};
        const Factor<float> fb{s.transpose_b ? In(b, s.n, s.k) : In(b, s.k, s.n), s.transpose_b};
        const double share = MedianShare(probe, compute, 2.0 * static_cast<double>(s.m * s.n * s.k), [&] {
          Gemm(context, compute, fa, fb, View<float>(c.data(), s.m, s.n), false);
        });
        std::printf("%d threads, %s, %ld x %ld x %ld%s%s: %.2f of the peak\n", threads, NameOf(compute), s.m,
                    s.n, s.k, s.transpose_a ? ", a^T" : "", s.transpose_b ? ", b^T" : "", share);
      }
    }
  }
}

TEST(ShareOfPeak, DISABLED_Attention) {
  constexpr int64_t kRows = 2048;
  for (int threads : {1, 2}) {
    for (Compute compute : {Compute::kBF16, Compute::kF32}) {
      for (const AttentionShape& s :
           {AttentionShape{4, 64, 32, 64, 0.1}, AttentionShape{4, 128, 64, 128, 0.1}}) {
        ThreadPool pool(threads);
        const LimitProbe probe = LimitProbe::Create(pool, uint64_t{1} << 20).value();
        const TestContext context(threads, compute, {kRows, s.nope, s.rope, s.value});
        const auto operand = [&](int64_t cols) {
          return Cast<float>(Random(kRows * cols, static_cast<uint64_t>(cols)));
        };
        const auto view = [&](std::vector<float>& x) {
          return View<float>(x.data(), kRows, static_cast<int64_t>(x.size()) / kRows);
        };
        std::vector<float> q = operand(s.heads * (s.nope + s.rope)),
                           kv = operand(s.heads * (s.nope + s.value));
        std::vector<float> pe = operand(s.rope), out = operand(s.heads * s.value), lse = operand(s.heads),
                           dout = out;
        std::vector<float> dq = q, dkv = kv, dpe = pe;
        const std::vector<int32_t> first(kRows, 0);
        // What the formula takes, masked scores left out.
        const double pairs = static_cast<double>(s.heads * kRows * (kRows + 1) / 2);
        const double width = static_cast<double>(s.nope + s.rope), value = static_cast<double>(s.value);
        const double forward = MedianShare(probe, compute, 2 * pairs * (width + value), [&] {
          AttentionForward<float>(*context, s, view(q), view(kv), view(pe), first.data(), view(out),
                                  view(lse));
        });
        const double backward = MedianShare(probe, compute, 2 * pairs * (3 * width + 2 * value), [&] {
          AttentionBackward<float>(*context, s, view(q), view(kv), view(pe), first.data(), view(out),
                                   view(lse), view(dout), view(dq), view(dkv), view(dpe));
        });
        std::printf("%d threads, %s, heads of %ld + %ld and %ld: forward %.2f, backward %.2f of the peak\n",
                    threads, NameOf(compute), s.nope, s.rope, s.value, forward, backward);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::train
