#include "kernels/limits.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/cpu_info.h"
#include "kernels/cpu/peaks_targets.h"

namespace hadal {
namespace {

std::vector<const PeakKernels*> AllPeaks() {
  std::vector<const PeakKernels*> all{&cpu_generic::Peaks()};
#if defined(__x86_64__)
  if (BestIsa() >= Isa::kAvx2) all.push_back(&cpu_avx2::Peaks());
  if (BestIsa() >= Isa::kAvx512) all.push_back(&cpu_avx512::Peaks());
#endif
  return all;
}

TEST(PeakKernels, ReadReadsEveryByte) {
  Result<ByteBuffer> buffer = ByteBuffer::Allocate(2048, "a test");
  ASSERT_TRUE(buffer) << buffer.error().message;
  std::memset(buffer->data(), 0, 2048);
  for (const PeakKernels* peaks : AllPeaks()) {
    ASSERT_EQ(peaks->read(buffer->data(), 2048), 0u);
    for (int64_t i = 0; i < 2048; ++i) {
      buffer->data()[i] = std::byte{1};
      EXPECT_NE(peaks->read(buffer->data(), 2048), 0u) << "byte " << i;
      buffer->data()[i] = std::byte{0};
    }
  }
}

TEST(MeasureReadGbps, ReadsWhatThereIsOnceAndStopsAtTheLimit) {
  ThreadPool pool(2);
  std::vector<ByteBuffer> buffers;
  EXPECT_EQ(MeasureReadGbps(pool, buffers, std::chrono::milliseconds(1)), 0);
  for (const uint64_t bytes : {uint64_t{100}, uint64_t{3 << 20}, (uint64_t{1} << 20) + 700})
    buffers.push_back(std::move(*ByteBuffer::Allocate(bytes, "a test")));
  const double gbps = MeasureReadGbps(pool, buffers, std::chrono::milliseconds(1000));
  EXPECT_GT(gbps, 0.001);
  EXPECT_LT(gbps, 100'000);
}

TEST(PeakKernels, OperationsAreThoseOfTheVectors) {
  // Chains times lanes times two for a multiply-add; bf16 pairs count twice that, int8 fours four times.
  const std::vector<const PeakKernels*> all = AllPeaks();
  const int64_t f32[] = {12 * 4 * 2, 12 * 8 * 2, 24 * 16 * 2};
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i]->f32(10), 10 * f32[i]);
    EXPECT_EQ(all[i]->bf16 != nullptr, i == 2);
    EXPECT_EQ(all[i]->int8 != nullptr, i == 2);
    if (all[i]->bf16) {
      EXPECT_EQ(all[i]->bf16(10), 10 * 2 * f32[i]);
    }
    if (all[i]->int8) {
      EXPECT_EQ(all[i]->int8(10), 10 * 4 * f32[i]);
    }
  }
}

TEST(LimitProbe, MeasuresWhatTheProcessorHas) {
  ThreadPool pool(2);
  Result<LimitProbe> probe = LimitProbe::Create(pool, (uint64_t{3} << 20) + 1);
  ASSERT_TRUE(probe) << probe.error().message;
  EXPECT_EQ(probe->bytes(), uint64_t{4} << 20);
  const MachineLimits limits = probe->Measure();
  EXPECT_GT(limits.read_gbps, 0);
  EXPECT_GT(limits.f32_gflops, 0);
  EXPECT_EQ(limits.bf16_gflops > 0, BestIsa() == Isa::kAvx512);
  EXPECT_EQ(limits.int8_gops > 0, BestIsa() == Isa::kAvx512);
}

}  // namespace
}  // namespace hadal
