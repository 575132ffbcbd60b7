// How the random weights of a synthesized model are distributed.
#pragma once

#include "model/config.h"
#include "model/tensor_names.h"

namespace hadal {

struct WeightDistribution {
  float mean = 0;
  float deviation = 0;
};

/// Such that activations and routing stay as in a trained model, whatever the depth: a Linear keeps the size
/// of a normalised input (deviation in^-1/2); what is added to the residual stream is smaller by (2 *
/// layers)^-1/2, so that all layers together double its square; gains are about 1; router logits have a
/// deviation of 1 and logits of 2.5, which makes scores, experts and tokens neither all alike nor all one.
WeightDistribution DistributionOf(const TensorSpec& spec, const ModelConfig& config);

}  // namespace hadal
