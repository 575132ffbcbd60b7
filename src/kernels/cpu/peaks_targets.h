// One set of limit probes per instruction set. Compiled under each one's flags: no inline functions here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hadal {

struct PeakKernels {
  /// Reads `count` bytes, a multiple of 512, and returns something that depends on all of them.
  uint64_t (*read)(const std::byte* bytes, int64_t count);
  /// Multiply and add in registers for `rounds` rounds; returns the operations done, an addition and a
  /// multiplication being two. Null where the target has no such instruction.
  int64_t (*f32)(int64_t rounds);
  int64_t (*bf16)(int64_t rounds);  // vdpbf16ps
  int64_t (*int8)(int64_t rounds);  // vpdpbusd
};

namespace cpu_generic {
const PeakKernels& Peaks();
}
namespace cpu_avx2 {
const PeakKernels& Peaks();
}
namespace cpu_avx512 {
const PeakKernels& Peaks();
}

}  // namespace hadal
