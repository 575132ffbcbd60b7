// Memory of one head's attention, carved from a worker's scratch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "train/ops/attention.h"

namespace hadal::train {

// Scores of 96 queries and 128 keys are held at once: whole panels of every instruction set, 48 KiB of f32.
inline constexpr int64_t kQueryTile = 96, kKeyTile = 128;

/// Packed pieces of equal size, one per tile of keys.
struct PackedTiles {
  std::byte* data = nullptr;
  int64_t tile_bytes = 0;
  std::byte* tile(int64_t j) const { return data + j * tile_bytes; }
};

/// Hands out 64-byte aligned pieces of scratch; from null, it counts. Numbers take `element_bytes` each.
class Carver {
 public:
  Carver(std::byte* base, int64_t element_bytes) : base_(base), element_bytes_(element_bytes) {}

  template <typename T>
  T* Take(int64_t count) {
    return reinterpret_cast<T*>(TakeBytes(count * element_bytes_));
  }
  /// Packed lanes of either factor: panels have up to 32 lanes, units up to 2 positions.
  std::byte* TakePacked(int64_t lanes, int64_t depth) { return TakeBytes(PackedBytes(lanes, depth)); }
  PackedTiles TakeTiles(int64_t tiles, int64_t lanes, int64_t depth) {
    return {TakeBytes(tiles * PackedBytes(lanes, depth)), PackedBytes(lanes, depth)};
  }
  int64_t used() const { return used_; }

 private:
  static int64_t RoundUp64(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  int64_t PackedBytes(int64_t lanes, int64_t depth) const {
    return RoundUp64((lanes + 31) * (depth + 2) * element_bytes_);
  }
  std::byte* TakeBytes(int64_t bytes) {
    std::byte* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += RoundUp64(bytes);
    return piece;
  }
  std::byte* base_;
  int64_t element_bytes_;
  int64_t used_ = 0;
};

inline int64_t KeyTiles(int64_t rows) { return (rows + kKeyTile - 1) / kKeyTile; }

template <typename T>
struct ForwardMemory {
  ForwardMemory(Carver& c, int64_t rows, int64_t n, int64_t r, int64_t v)
      : keys(c.TakeTiles(KeyTiles(rows), kKeyTile, n + r)),
        values(c.TakeTiles(KeyTiles(rows), v, kKeyTile)),
        query(c.TakePacked(kQueryTile, n + r)),
        weights(c.TakePacked(kQueryTile, kKeyTile)),
        scores(c.Take<T>(kQueryTile * kKeyTile)),
        top(c.Take<T>(kQueryTile)),
        sum(c.Take<T>(kQueryTile)) {}

  PackedTiles keys;    // B: lanes are keys, depth n + r
  PackedTiles values;  // B: lanes are columns of the value, depth keys
  std::byte* query;    // A: lanes are queries, depth n + r
  std::byte* weights;  // A: lanes are queries, depth keys
  T* scores;           // [kQueryTile][kKeyTile]
  T* top;              // [kQueryTile], of the scores so far
  T* sum;              // [kQueryTile], of exp(score - top)
};

template <typename T>
struct BackwardMemory {
  BackwardMemory(Carver& c, int64_t rows, int64_t n, int64_t r, int64_t v)
      : keys(c.TakeTiles(KeyTiles(rows), kKeyTile, n + r)),
        values(c.TakeTiles(KeyTiles(rows), kKeyTile, v)),
        key_nope(c.TakeTiles(KeyTiles(rows), n, kKeyTile)),
        key_rope(c.TakeTiles(KeyTiles(rows), r, kKeyTile)),
        query(c.TakePacked(kQueryTile, n + r)),
        dout(c.TakePacked(kQueryTile, v)),
        query_columns(c.TakePacked(n + r, kQueryTile)),
        dout_columns(c.TakePacked(v, kQueryTile)),
        by_query(c.TakePacked(kQueryTile, kKeyTile)),
        by_key(c.TakePacked(kKeyTile, kQueryTile)),
        p(c.Take<T>(kQueryTile * kKeyTile)),
        ds(c.Take<T>(kQueryTile * kKeyTile)),
        delta(c.Take<T>(kQueryTile)),
        dk(c.Take<T>(rows * (n + r))),
        dv(c.Take<T>(rows * v)) {}

  PackedTiles keys;          // B: lanes are keys, depth n + r
  PackedTiles values;        // B: lanes are keys, depth v
  PackedTiles key_nope;      // B: lanes are columns of the key's nope part, depth keys
  PackedTiles key_rope;      // B: the same of its rope part
  std::byte* query;          // A: lanes are queries, depth n + r
  std::byte* dout;           // A: lanes are queries, depth v
  std::byte* query_columns;  // B: lanes are columns of the query, depth queries
  std::byte* dout_columns;   // B: lanes are columns of dout, depth queries
  std::byte* by_query;       // A: dS, lanes are queries, depth keys
  std::byte* by_key;         // A: P^T, then dS^T, lanes are keys, depth queries
  T* p;                      // [kQueryTile][kKeyTile]
  T* ds;                     // [kQueryTile][kKeyTile]
  T* delta;                  // [kQueryTile], <dout, out> of a query
  T* dk;                     // [T][n + r]
  T* dv;                     // [T][v]
};

}  // namespace hadal::train
