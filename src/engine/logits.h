// Logits of given tokens: any number of sequences as one batch, for looking inside a model and for comparing
// it with other engines.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine.h"
#include "tensor/buffer.h"

namespace hadal {

/// Which form of attention the tokens take. They give the same function and differ in rounding.
enum class AttentionForm {
  kByRole,    // given tokens the plain form, continued ones the absorbed: as in serving
  kPlain,     // all tokens the plain form
  kAbsorbed,  // all tokens the absorbed form
};

struct LogitsRequest {
  std::vector<std::vector<int32_t>> ids;  // sequences, none empty
  int64_t last = 0;                       // of each sequence, the last positions that are wanted; 0: all
  int64_t greedy = 0;   // tokens to continue each sequence by, with no stop at its end token
  bool hidden = false;  // also the states between the layers
  AttentionForm attention = AttentionForm::kByRole;
  /// Called after each step with the tokens computed and in all; false stops the work. May be null.
  std::function<bool(int64_t done, int64_t total)> progress;

  /// Positions of sequence `i` whose results are wanted.
  int64_t Positions(size_t i) const;
};

struct SequenceLogits {
  int64_t positions = 0;              // the last ones of the sequence
  Buffer<float> logits;               // [positions, vocab]
  std::vector<int64_t> greedy;        // [request.greedy]
  std::vector<Buffer<float>> hidden;  // one for each layer: [positions, hidden], the residual stream after it
};

/// kInvalidArgument: no sequence or an empty one, an id outside the vocabulary, a number below 0, or a
/// sequence that with its continuation is longer than the model's positions. Needs no weights.
Status CheckLogitsRequest(const ModelConfig& config, const LogitsRequest& request);

/// Bytes that the results take, from config and request alone.
uint64_t LogitsResultBytes(const ModelConfig& config, const LogitsRequest& request);

/// `options` with room for the request: its sequences, the longest of them unless a context is given, and as
/// many rows of logits a step as 64 MiB hold.
EngineOptions LogitsEngineOptions(EngineOptions options, const ModelConfig& config,
                                  const LogitsRequest& request);

/// Runs all sequences together: every step takes tokens of each that has some left, and in the continuation
/// all advance in the same step. A sequence's numbers do not depend on the others.
///
/// kInvalidArgument as CheckLogitsRequest, or the engine's context is too short. kResourceExhausted: no
/// memory for the results. kDataLoss: a logit is NaN or infinite. kCancelled: `progress` said so.
Result<std::vector<SequenceLogits>> ComputeLogits(Engine& engine, const LogitsRequest& request);

}  // namespace hadal
