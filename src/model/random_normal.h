// Random numbers that are named, not drawn in turn: the value at (seed, stream, index) is the same whoever
// asks for it, on any machine and on any number of threads.
#pragma once

#include <cstdint>
#include <string_view>

namespace hadal {

/// The stream of a tensor's name: FNV-1a, 64 bits.
uint64_t StreamOf(std::string_view name);

/// out[i] = the value at index first + i, close to normal with that mean and standard deviation: the sum of
/// four random bytes, which ends at 3.45 standard deviations (a normal has one value in 1800 beyond) and has
/// 1021 steps. Philox gives the bytes, 16 to a counter; 64 indices share 16 counters, index 64 * k + 16 * w +
/// l being word w of counter 16 * k + l, so that a vector of counters gives a vector of values.
void FillNormal(uint64_t seed, uint64_t stream, int64_t first, int64_t count, float mean, float deviation,
                float* out);

}  // namespace hadal
