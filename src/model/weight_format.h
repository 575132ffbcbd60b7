// Which format a Linear takes in memory, and what it does to its inputs: one rule, from how it is stored,
// what it is for and what was asked.
#pragma once

#include "kernels/linear_weight.h"
#include "model/config.h"
#include "model/weight_source.h"
#include "model/weights.h"

namespace hadal {

/// What a Linear is for, as far as formats go.
enum class LinearRole {
  kBody,           // attention, dense networks, experts
  kHead,           // head and eh_proj: errors here reach the logits directly, so 4 bits become 8
  kRouter,         // picks experts: stays as stored, f32 inputs
  kKeyValueUp,     // a head's part of kv_b_proj, as it is (k_up, v_up)
  kKeyUpAbsorbed,  // a head's key part, transposed: scales along the rows no longer fit
};

/// kInvalidArgument: no such group. kUnsupported: an option that does not fit the folder's format.
Status CheckOptions(const LoadOptions& options, const ModelConfig& config);

/// format, input, group and scales_bf16 of a weight [out, in] made from `source`; no pointers.
///
/// Format. As stored, unless integers are asked for; these are quantised from the decoded values, except
/// where the folder has as few bits already: quantising again would lose and gain nothing. FP8 panels hold
/// blocks of a multiple of 16 rows and 128 columns; other blocks are decoded, to BF16 or, for f32 compute, to
/// F32. The parts of kv_b_proj are never quantised, and decoded likewise where they are stored so: prompts read them
/// one way and generated tokens the other way round, and both must be the same numbers.
///
/// Input. f32 compute: f32, or e4m3 if activations are to be quantised and the folder has FP8 here, the
/// absorbed form excepted, whose input is no activation of a stored Linear. Else bf16 for BF16 and FP8, int8
/// for integers, f32 for F32 and F16.
LinearWeight ChooseFormat(const LinearSource& source, LinearRole role, int64_t out, int64_t in,
                          const LoadOptions& options);

}  // namespace hadal
