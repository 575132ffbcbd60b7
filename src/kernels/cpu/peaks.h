// Loops that do nothing but load memory or compute in registers: what one target can reach at most.
// HADAL_TARGET names the target's namespace. Included by peaks_*.cc alone; everything has internal linkage
// but the table.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/peaks_targets.h"

namespace hadal::HADAL_TARGET {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kChains = 24;  // of 32 registers
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kChains = 12;  // of 16 registers; two units with a latency of 4 to 6 need 8 to 12
#else
constexpr int kVectorBytes = 16;
constexpr int kChains = 12;
#endif
constexpr int kLanes = kVectorBytes / 4;

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef uint64_t Words __attribute__((vector_size(kVectorBytes)));

/// Keeps `v` in a register and its value from the optimiser.
template <typename Vector>
inline __attribute__((always_inline)) void Hide(Vector& v) {
#if defined(__x86_64__)
  asm volatile("" : "+v"(v));
#else
  asm volatile("" : "+w"(v));
#endif
}

uint64_t Read(const std::byte* bytes, int64_t count) {
  constexpr int kSums = 8;
  Words sums[kSums] = {};
  for (int64_t at = 0; at < count; at += kSums * kVectorBytes) {
    for (int i = 0; i < kSums; ++i) {
      Words words;
      __builtin_memcpy(&words, bytes + at + i * kVectorBytes, kVectorBytes);
      sums[i] ^= words;
    }
  }
  for (int i = 1; i < kSums; ++i) sums[0] ^= sums[i];
  uint64_t all = 0;
  for (int i = 0; i < kVectorBytes / 8; ++i) all ^= sums[0][i];
  return all;
}

/// `rounds` times kChains independent accumulators, each changed by step(sum, a, b). Returns the operations
/// done.
template <typename Vector, typename Step>
inline __attribute__((always_inline)) int64_t RunChains(int64_t rounds, int64_t operations, Step&& step) {
  Vector sums[kChains] = {}, a = {}, b = {};
  Hide(a);
  Hide(b);
  for (int64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < kChains; ++i) {
      sums[i] = step(sums[i], a, b);
      Hide(sums[i]);
    }
  }
  return rounds * kChains * operations;
}

int64_t F32(int64_t rounds) {
  return RunChains<Floats>(
      rounds, 2 * kLanes, [](Floats sum, Floats a, Floats b) __attribute__((always_inline)) {
#if defined(__AVX512F__)
        return reinterpret_cast<Floats>(_mm512_fmadd_ps(
            reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(sum)));
#elif defined(__FMA__)
        return reinterpret_cast<Floats>(_mm256_fmadd_ps(
            reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(sum)));
#elif defined(__aarch64__)
        for (int i = 0; i < kLanes; ++i) sum[i] = __builtin_fmaf(a[i], b[i], sum[i]);
        return sum;
#else
        return a * b + sum;
#endif
      });
}

#if defined(__AVX512BF16__)
int64_t BF16(int64_t rounds) {
  return RunChains<Floats>(
      rounds, 4 * kLanes, [](Floats sum, Floats a, Floats b) __attribute__((always_inline)) {
        return reinterpret_cast<Floats>(_mm512_dpbf16_ps(
            reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
      });
}
#endif

#if defined(__AVX512VNNI__)
int64_t Int8(int64_t rounds) {
  return RunChains<Words>(
      rounds, 8 * kLanes, [](Words sum, Words a, Words b) __attribute__((always_inline)) {
        return reinterpret_cast<Words>(_mm512_dpbusd_epi32(
            reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
      });
}
#endif

}  // namespace

const PeakKernels& Peaks() {
  static constexpr PeakKernels kPeaks {
    Read, F32,
#if defined(__AVX512BF16__)
        BF16,
#else
        nullptr,
#endif
#if defined(__AVX512VNNI__)
        Int8,
#else
        nullptr,
#endif
  };
  return kPeaks;
}

}  // namespace hadal::HADAL_TARGET
