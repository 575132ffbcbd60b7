#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/rng.h"
#include "engine/exp.h"
#include "engine/logit_scan.h"
#include "engine/rank_select.h"

namespace hadal {
namespace {

constexpr uint32_t kInPrompt = 1u << 31;
constexpr uint32_t kCountMask = kInPrompt - 1;
constexpr uint64_t kTokenStream = 0;  // of the request's seed: the draw of the token at an index

/// A finite f32, so that penalties on enormous logits can't make infinities.
float ToFiniteFloat(double x) {
  constexpr double kMax = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(x, -kMax, kMax));
}

/// Makes tokens without their bit -inf. What is no number stays, for the scan to find.
void Mask(std::span<const uint64_t> allowed, std::span<float> logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (size_t first = 0; first < logits.size(); first += 64) {
    const uint64_t word = first / 64 < allowed.size() ? allowed[first / 64] : 0;
    if (word == ~uint64_t{0}) continue;
    const size_t last = std::min(first + 64, logits.size());
    for (size_t id = first; id < last; ++id) {
      if ((word >> (id - first) & 1) == 0 && logits[id] < kInfinity) logits[id] = -kInfinity;
    }
  }
}

/// In order, so that a prefix of the sum is what the draw walks through.
double Sum(std::span<const double> weights) {
  double sum = 0;
  for (double weight : weights) sum += weight;
  return sum;
}

/// The candidates of a row: parallel arrays, ids ascending, filtered in place.
struct Candidates {
  float* logits;
  int32_t* ids;
  double* weights;
  int64_t count;

  std::span<const float> Logits() const { return {logits, static_cast<size_t>(count)}; }
  std::span<const double> Weights() const { return {weights, static_cast<size_t>(count)}; }

  /// Keeps those i for which keep(i), asked in ascending order before anything at i or above has moved.
  template <typename Keep>
  void Retain(Keep keep) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      const bool keeps = keep(i);
      logits[kept] = logits[i];
      ids[kept] = ids[i];
      weights[kept] = weights[i];
      kept += keeps;
    }
    count = kept;
  }
};

/// The first candidate at which the running sum of weights passes u of the total; u in [0, 1).
int64_t Draw(std::span<const double> weights, double u) {
  const double target = u * Sum(weights);
  double sum = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(weights.size()); ++i) {
    if (weights[i] == 0) continue;
    sum += weights[i];
    if (sum > target) return i;
    last = i;
  }
  return last;  // u * total was rounded up to the total
}

}  // namespace

Result<SamplerScratch> SamplerScratch::Create(int64_t vocab_size) {
  HADAL_CHECK(vocab_size >= 1 && vocab_size <= INT32_MAX, "vocabulary of {} tokens", vocab_size);
  SamplerScratch scratch;
  ASSIGN_OR_RETURN(scratch.logits_, Buffer<float>::Allocate(vocab_size, "sampling: logits"));
  ASSIGN_OR_RETURN(scratch.ids_, Buffer<int32_t>::Allocate(vocab_size, "sampling: token ids"));
  ASSIGN_OR_RETURN(scratch.weights_, Buffer<double>::Allocate(vocab_size, "sampling: weights"));
  ASSIGN_OR_RETURN(scratch.select_, Buffer<int32_t>::Allocate(vocab_size, "sampling: selection"));
  return scratch;
}

Result<Sampler> Sampler::Create(SamplingParams params, int64_t vocab_size) {
  HADAL_CHECK(vocab_size >= 1 && vocab_size <= INT32_MAX, "vocabulary of {} tokens", vocab_size);
  RETURN_IF_ERROR(Validate(params, vocab_size));
  Sampler sampler(std::move(params), vocab_size);
  if (sampler.params_.HasPenalties()) {
    ASSIGN_OR_RETURN(sampler.seen_, Buffer<uint32_t>::Allocate(vocab_size, "sampling: token counts"));
  }
  return sampler;
}

void Sampler::Observe(int32_t token, bool is_prompt) {
  HADAL_CHECK(token >= 0 && token < vocab_size_, "token {} of {}", token, vocab_size_);
  if (seen_.size() == 0) return;
  uint32_t& seen = seen_[token];
  if (is_prompt) {
    seen |= kInPrompt;
  } else if ((seen & kCountMask) < kCountMask) {
    ++seen;
  }
}

float Sampler::Penalized(float logit, uint32_t seen) const {
  if (!std::isfinite(logit)) return logit;  // masked, or an error for the scan to find
  double value = logit;
  value = value > 0 ? value / params_.repetition_penalty : value * params_.repetition_penalty;
  const uint32_t count = seen & kCountMask;
  if (count > 0) value -= params_.presence_penalty + params_.frequency_penalty * count;
  return ToFiniteFloat(value);
}

/// Steps 1 to 3, in place.
void Sampler::Adjust(std::span<float> logits) const {
  for (int64_t id = 0; id < seen_.size(); ++id) {
    if (seen_[id] != 0) logits[id] = Penalized(logits[id], seen_[id]);
  }
  for (const auto& [id, bias] : params_.logit_bias) {
    if (std::isfinite(logits[id])) logits[id] = ToFiniteFloat(double{logits[id]} + bias);
  }
}

/// Steps 4 to 7 on the logits in `scratch`, all V of them. Returns how many candidates are left at its start.
int64_t Sampler::Filter(float best, SamplerScratch& scratch) const {
  Candidates all{scratch.logits_.data(), scratch.ids_.data(), scratch.weights_.data(), vocab_size_};
  const std::span<int32_t> select(scratch.select_.data(), static_cast<size_t>(vocab_size_));
  for (int64_t i = 0; i < all.count; ++i) all.ids[i] = static_cast<int32_t>(i);
  if (params_.top_k > 0 && params_.top_k < vocab_size_) {
    const RankCut cut = SelectByCount(all.Logits(), params_.top_k, select);
    all.Retain([&](int64_t i) { return cut.Keeps(all.logits[i], i); });
  }
  for (int64_t i = 0; i < all.count; ++i) {
    all.weights[i] = ExpNonPositive((double{all.logits[i]} - best) / params_.temperature);
  }
  if (params_.min_p > 0) all.Retain([&](int64_t i) { return all.weights[i] >= params_.min_p; });
  if (params_.top_p < 1) {
    const RankCut cut = SelectByMass(all.Logits(), all.Weights(), params_.top_p * Sum(all.Weights()), select);
    all.Retain([&](int64_t i) { return cut.Keeps(all.logits[i], i); });
  }
  return all.count;
}

Result<int32_t> Sampler::Sample(std::span<const float> logits, uint64_t position,
                                SamplerScratch& scratch, std::span<const uint64_t> allowed) const {
  HADAL_CHECK_EQ(static_cast<int64_t>(logits.size()), vocab_size_);
  HADAL_CHECK_EQ(scratch.vocab_size(), vocab_size_);
  const bool greedy = params_.temperature == 0;
  if (!greedy || Adjusts() || !allowed.empty()) {
    std::span<float> copy(scratch.logits_.data(), logits.size());
    std::copy(logits.begin(), logits.end(), copy.begin());
    if (!allowed.empty()) Mask(allowed, copy);
    Adjust(copy);
    logits = copy;
  }
  ASSIGN_OR_RETURN(const BestLogit best, FindBest(logits, position));
  if (greedy) return best.id;
  const int64_t count = Filter(best.logit, scratch);
  const std::array<uint32_t, 4> bits = PhiloxAt(params_.seed, kTokenStream, position);
  const std::span<const double> weights(scratch.weights_.data(), static_cast<size_t>(count));
  return scratch.ids_[Draw(weights, UnitDouble(bits[0], bits[1]))];
}

}  // namespace hadal
