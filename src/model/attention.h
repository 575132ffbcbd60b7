// Multi-head latent attention (arXiv 2412.19437, section 2.1.1).
#pragma once

#include "kernels/ops.h"
#include "model/activations.h"
#include "model/config.h"
#include "model/step.h"
#include "model/weights.h"

namespace hadal {

/// a.branch = attention of a.normed [T, d] over the cache, which gets the step's own latents first.
/// Each token takes the form of its run's role. Uses a.q_latent, a.q, a.kv, a.q_absorbed, a.o_latent, a.heads.
void Attention(ExecContext& ctx, const ModelConfig& config, const MlaWeights& w, const ops::RopeTable& rope,
               const ops::LayerCache& cache, const Step& step, int64_t layer, Activations& a,
               ForwardObserver* observer);

/// Only the cache's part of Attention: the latents of a.normed [T, d]. Uses a.kv.
void CacheLatents(ExecContext& ctx, const ModelConfig& config, const MlaWeights& w, const ops::RopeTable& rope,
                  const ops::LayerCache& cache, const Step& step, Activations& a);

}  // namespace hadal
