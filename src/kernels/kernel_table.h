// The table of kernels: what a device must be able to do, as plain functions on plain data.
//
// A kernel works on one unit (a row, a few panels, one head) in one thread and allocates nothing; ops.cc checks
// shapes, cuts the work into units and runs them on the pool. Units are cut by the problem's shape and never by the
// number of threads, and no kernel's result depends on the rows beside it.
//
// This header and those it includes are compiled under each instruction set's flags, so they define no inline
// function with external linkage: the linker could keep the copy that an older processor cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_info.h"
#include "kernels/linear_weight.h"

namespace hadal {

/// A LinearWeight as kernels take it: the same fields, its sizes computed.
struct PanelWeight {
  const std::byte* panels;
  const void* scales;
  int64_t out, in, padded_in;
  int64_t strip_bytes;  // of a whole strip, four panels
  int64_t scale_count;
  int32_t group;
  WeightFormat format;
  InputFormat input;
  bool scales_bf16;
};

/// Attention of one generated token, one range of positions, up to 16 heads, in the latent space (absorbed form).
struct AbsorbedArgs {
  const float* q_latent;       // [heads][q_latent_stride]: the query times the key up-projection, kv_lora_rank wide
  int64_t q_latent_stride;
  const float* q_rope;         // [heads][q_rope_stride]: rotated, rope wide
  int64_t q_rope_stride;
  const void* const* rows;     // [count] cached tokens [latent | rope], f32 or bf16, in order of position
  int64_t count;
  int64_t heads;               // 1..16
  int64_t latent, rope;
  bool cache_bf16;
  float scale;
  float* out;                  // [heads][latent]: sum of exp(score - max) * latent, not yet divided
  float* max;                  // [16]
  float* sum;                  // [16]
  float* scratch;              // AbsorbedScratch(latent, rope) floats
};

/// Attention of a run of prompt tokens, one head, over keys and values decompressed from the cache (plain form).
struct PromptArgs {
  const float* q;              // [queries][q_stride]: nope | rope (rotated)
  int64_t q_stride;
  int64_t queries;
  int64_t first_position;      // of query 0; query i sees positions 0 .. first_position + i
  const void* const* rows;     // [first_position + queries] cached tokens
  PanelWeight k_up;            // [nope, latent]
  PanelWeight v_up;            // [value, latent]
  int64_t nope, rope, value, latent;
  bool cache_bf16;
  float scale;
  float* out;                  // [queries][out_stride]
  int64_t out_stride;
  float* scratch;              // PromptScratch(...) floats
};

constexpr int64_t kPositionTile = 32;    // absorbed form: positions whose scores are held at once
constexpr int64_t kPromptTile = 64;      // plain form: positions decompressed at once
/// Absorbed form: positions one unit attends to. Fixed, so that the split of a sum never depends on the load.
constexpr int64_t kPositionSplit = 512;

struct KernelTable {
  const char* name;
  bool bf16_pairs;  // kBF16 inputs are prepared as bf16 codes (the kernel multiplies bf16 pairs), else as floats

  /// Turns one input row into what `linear` reads; see PreparedRowBytes for the layout. x: [w.in].
  void (*prepare)(const PanelWeight& w, const float* x, void* prepared);
  /// y[r][o] = sum_k x[r][k] * w[o][k] for rows r < m and the outputs of `panel_count` panels.
  void (*linear)(const PanelWeight& w, const void* const* rows, int64_t m, int64_t first_panel, int64_t panel_count,
                 float* const* y);
  /// y = x / sqrt(mean(x^2) + eps) * gain (arXiv 1910.07467). y may be x.
  void (*rms_norm)(const float* x, const float* gain, float eps, int64_t width, float* y);
  /// y = silu(gate) * up. y may be gate or up.
  void (*swiglu)(const float* gate, const float* up, int64_t width, float* y);
  /// Rotates pairs (2i, 2i+1) of x by the angle whose cosine and sine are given. In place.
  void (*rope)(float* x, const float* cosine, const float* sine, int64_t pairs);
  /// y += a * x.
  void (*add_scaled)(const float* x, float a, int64_t width, float* y);
  void (*attend_absorbed)(const AbsorbedArgs& args);
  void (*attend_prompt)(const PromptArgs& args);
};

/// Bytes of a prepared row: the values, then (64-byte aligned) the row's own scales.
///   kF32        f32 [padded_in]
///   kBF16       bf16 [padded_in] where bf16_pairs, else f32 [padded_in], rounded to bf16
///   kInt8       i8 [padded_in]; f32 scale [groups]; i32 sum of codes [groups]
///   kE4M3(Pow2) FP8 weights: f32 [padded_in], the codes' values; f32 scale [blocks]
///               other weights: f32 [padded_in], the products code * scale
int64_t PreparedValueBytes(const PanelWeight& w, bool bf16_pairs);
int64_t PreparedRowBytes(const PanelWeight& w, bool bf16_pairs);

/// Bytes that attend_prompt keeps for a latent as k_up (or v_up) reads it, whatever the weight's format; enough for
/// scale groups of up to 256 inputs.
int64_t PromptRowBytes(int64_t latent);
/// Floats of scratch one attention unit needs.
int64_t AbsorbedScratch(int64_t latent, int64_t rope);
int64_t PromptScratch(int64_t queries, int64_t nope, int64_t rope, int64_t value, int64_t latent);

/// Plain loops with double sums: the truth the others are tested against.
const KernelTable& ReferenceKernels();
/// Vector kernels for `isa`, which must be one of AvailableIsas().
const KernelTable& CpuKernels(Isa isa);

PanelWeight ToPanelWeight(const LinearWeight& w);

}  // namespace hadal
