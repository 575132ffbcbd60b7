// What this machine has: instruction sets, processors, memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hadal {

/// Instruction sets that kernels are built for, by rising ability. Each includes those before it on its architecture.
enum class Isa {
  kGeneric,  // any x86-64 or arm64 (SSE2, NEON)
  kAvx2,     // AVX2, FMA, F16C
  kAvx512,   // AVX-512 F, BW, DQ, VL, VBMI, VNNI and BF16 (Zen 4, Sapphire Rapids and later)
};

std::string_view IsaName(Isa isa);

/// The best Isa that the processor and the kernel offer.
Isa BestIsa();
/// BestIsa and all below it that run here.
std::vector<Isa> AvailableIsas();

/// Processors this process may run on (affinity and cgroup quota counted).
int UsableProcessors();
/// The processor's name as the kernel reports it.
std::string ProcessorName();
/// Bytes of the last-level cache; 32 MiB where unknown.
uint64_t LastLevelCacheBytes();
/// Bytes that may be allocated now without swapping: the smaller of MemAvailable and what the cgroup leaves.
uint64_t AvailableMemoryBytes();
/// The most physical memory this process ever held, in bytes; the kernel's VmHWM.
uint64_t PeakResidentBytes();
/// Physical memory this process holds now, file mappings left out (RssAnon), in bytes.
uint64_t AnonymousResidentBytes();

}  // namespace hadal
