// A model's weights in memory: packed for the kernels, one struct per part of the paper.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/linear_weight.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "tensor/buffer.h"

namespace hadal {

/// Format of the Linear weights in memory.
enum class WeightChoice {
  kAsStored,  // what the folder holds: F32, BF16, F16, FP8, INT8 or INT4
  kInt8,      // quantised at load: attention (but its key/value up-projection), feed-forward, head; the router stays as stored
  kInt4,      // the same with 4 bits; the head takes 8
};

/// What arithmetic the Linears do.
enum class ComputeMode {
  kAuto,  // bf16 inputs for BF16 and FP8 weights, int8 inputs for INT8 and INT4, f32 for F32 and F16
  kF32,   // f32 inputs and products throughout, and an f32 cache
};

/// Quantisation of the inputs of Linears that are FP8 in the folder, as DeepSeek's own GPU kernels do it (a check
/// against other engines' numbers; kF32 compute only).
enum class ActivationQuantization { kNone, kF32Scale, kPowerOfTwoScale };

struct LoadOptions {
  WeightChoice weights = WeightChoice::kAsStored;
  int32_t group = 32;  // of kInt8 and kInt4: inputs that share a scale; 32, 64 or 128
  ComputeMode compute = ComputeMode::kAuto;
  ActivationQuantization activation_quantization = ActivationQuantization::kNone;
  bool mtp = false;    // load the multi-token-prediction layers too
  /// Called now and then with bytes read so far and in all; null: nobody listens. From one thread at a time.
  std::function<void(uint64_t done, uint64_t total)> progress;
  /// Asked before each piece of some MB, by any thread: true gives up, with kCancelled. Null: nobody does.
  std::function<bool()> stop = {};
};

/// One embedding row per token id, as stored.
struct EmbeddingTable {
  int64_t vocab = 0, hidden = 0;
  DType dtype = DType::kBF16;  // F32, BF16 or F16
  const std::byte* rows = nullptr;
};

struct FeedForwardWeights {
  LinearWeight gate, up;  // [intermediate, hidden]
  LinearWeight down;      // [hidden, intermediate]
};

/// Names follow arXiv 2412.19437, section 2.1.1. n nope, r rope, v value, c kv_lora.
struct MlaWeights {
  std::optional<LinearWeight> q_down;  // [q_lora, hidden]; absent where the query has no latent
  const float* q_norm = nullptr;       // [q_lora]
  LinearWeight q_up;                   // [H * (n + r), q_lora or hidden]
  LinearWeight kv_down;                // [c + r, hidden]
  const float* kv_norm = nullptr;      // [c]
  // The up-projection of keys and values, by head: as it is for the plain form (k_up, v_up), and the key's part
  // transposed for the absorbed form, where it is folded into the query.
  std::vector<LinearWeight> k_up;           // H of [n, c]
  std::vector<LinearWeight> v_up;           // H of [v, c]
  std::vector<LinearWeight> k_up_absorbed;  // H of [c, n]
  // v_up as the absorbed form takes it: the same memory; differs from v_up only under activation quantisation, where
  // the plain form's input is the quantised latent and this one's is not quantised.
  std::vector<LinearWeight> v_up_absorbed;  // H of [v, c]
  LinearWeight out;                    // [hidden, H * v]
};

struct MoeWeights {
  LinearWeight router;                   // [experts, hidden], f32 products
  const float* bias = nullptr;           // [experts], or null where the method has none
  std::vector<FeedForwardWeights> experts;
  std::optional<FeedForwardWeights> shared;
};

struct LayerWeights {
  const float* attention_norm = nullptr;  // [hidden]
  MlaWeights attention;
  const float* ffn_norm = nullptr;        // [hidden]
  std::optional<FeedForwardWeights> dense;  // exactly one of dense and moe
  std::optional<MoeWeights> moe;
};

/// Multi-token prediction (arXiv 2412.19437, section 2.2). Embedding and head are the main model's.
struct MtpWeights {
  const float* embedding_norm = nullptr;  // enorm [hidden]
  const float* hidden_norm = nullptr;     // hnorm [hidden]
  LinearWeight combine;                   // eh_proj [hidden, 2 * hidden]
  LayerWeights layer;
  const float* head_norm = nullptr;       // shared_head.norm [hidden]
};

struct LoadReport {
  uint64_t bytes_read = 0;
  double seconds = 0;
};

/// Owns the memory that the pointers of its parts point into.
struct Weights {
  EmbeddingTable embedding;
  std::vector<LayerWeights> layers;
  const float* final_norm = nullptr;  // [hidden]
  LinearWeight head;                  // [vocab, hidden]
  std::vector<MtpWeights> mtp;

  std::vector<ByteBuffer> memory;
  LoadReport report;

  /// Bytes a decode step of one token reads from memory: every weight once, and of the experts those it is routed
  /// to. physics.md's W(1) for this format.
  uint64_t BytesPerToken(const ModelConfig& config) const;
};

/// The bytes that LoadWeights will allocate, to the byte, from config and checkpoint header alone.
Result<uint64_t> PlanWeights(const ModelConfig& config, const Checkpoint& checkpoint, const LoadOptions& options);

/// Reads, converts and packs every tensor the config names, in parallel on `pool`. Source pages are released as they
/// are consumed, so that the model is never in memory twice.
/// kNotFound / kDataLoss: a tensor is missing or of the wrong shape or dtype, by name, found and expected; a NaN code
/// in FP8 weights. kUnsupported: an option that does not fit the folder's format.
Result<Weights> LoadWeights(const ModelConfig& config, const Checkpoint& checkpoint, const LoadOptions& options,
                            ThreadPool& pool);

}  // namespace hadal
