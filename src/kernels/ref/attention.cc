#include <algorithm>
#include <cmath>

#include "kernels/ref/reference.h"
#include "tensor/dtype.h"

namespace hadal::reference {
namespace {

/// One cached token [latent | rope].
std::vector<float> CachedToken(const void* row, bool is_bf16, int64_t width) {
  std::vector<float> token(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i)
    token[static_cast<size_t>(i)] =
        is_bf16 ? ToFloat(bf16{static_cast<const uint16_t*>(row)[i]}) : static_cast<const float*>(row)[i];
  return token;
}

double FloatDot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += double{a[i]} * b[i];
  return sum;
}

/// w times the latent, prepared as w's input format says: [w.out].
std::vector<double> UpProject(const PanelWeight& w, const std::vector<std::vector<double>>& weight_rows,
                              const float* latent) {
  std::vector<char> prepared(static_cast<size_t>(PreparedRowBytes(w, /*bf16_pairs=*/false)));
  Prepare(w, latent, prepared.data());
  const std::vector<double> input = InputValues(w, prepared.data());
  std::vector<double> out;
  for (const std::vector<double>& row : weight_rows) out.push_back(Dot(row, input));
  return out;
}

std::vector<std::vector<double>> AllRows(const PanelWeight& w) {
  std::vector<std::vector<double>> rows;
  for (int64_t o = 0; o < w.out; ++o) rows.push_back(WeightRow(w, o));
  return rows;
}

/// softmax of scores, in place.
void Softmax(std::vector<double>& scores) {
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - top);
  for (double& s : scores) s /= sum;
}

}  // namespace

void AttendAbsorbed(const AbsorbedArgs& a) {
  std::vector<std::vector<float>> tokens;
  for (int64_t t = 0; t < a.count; ++t)
    tokens.push_back(CachedToken(a.rows[t], a.cache_bf16, a.latent + a.rope));
  for (int64_t h = 0; h < a.heads; ++h) {
    std::vector<double> scores;
    for (const std::vector<float>& token : tokens)
      scores.push_back(a.scale * (FloatDot(a.q_latent + h * a.q_latent_stride, token.data(), a.latent) +
                                  FloatDot(a.q_rope + h * a.q_rope_stride, token.data() + a.latent, a.rope)));
    // The maximum is handed out as a float, so the sums refer to the float.
    a.max[h] = static_cast<float>(*std::max_element(scores.begin(), scores.end()));
    double sum = 0;
    std::vector<double> out(static_cast<size_t>(a.latent));
    for (size_t t = 0; t < tokens.size(); ++t) {
      const double weight = std::exp(scores[t] - a.max[h]);
      sum += weight;
      for (size_t c = 0; c < out.size(); ++c) out[c] += weight * tokens[t][c];
    }
    a.sum[h] = static_cast<float>(sum);
    for (size_t c = 0; c < out.size(); ++c)
      a.out[h * a.latent + static_cast<int64_t>(c)] = static_cast<float>(out[c]);
  }
}

void AttendPrompt(const PromptArgs& a) {
  const int64_t positions = a.first_position + a.queries;
  const std::vector<std::vector<double>> k_rows = AllRows(a.k_up), v_rows = AllRows(a.v_up);
  std::vector<std::vector<double>> keys, values;  // of each position: [nope + rope], [value]
  for (int64_t t = 0; t < positions; ++t) {
    const std::vector<float> token = CachedToken(a.rows[t], a.cache_bf16, a.latent + a.rope);
    keys.push_back(UpProject(a.k_up, k_rows, token.data()));
    keys.back().insert(keys.back().end(), token.begin() + a.latent, token.end());
    values.push_back(UpProject(a.v_up, v_rows, token.data()));
  }
  for (int64_t i = 0; i < a.queries; ++i) {
    const std::vector<double> q(a.q + i * a.q_stride, a.q + i * a.q_stride + a.nope + a.rope);
    std::vector<double> weights;
    for (int64_t t = 0; t <= a.first_position + i; ++t)
      weights.push_back(a.scale * Dot(q, keys[static_cast<size_t>(t)]));
    Softmax(weights);
    for (int64_t c = 0; c < a.value; ++c) {
      double sum = 0;
      for (size_t t = 0; t < weights.size(); ++t) sum += weights[t] * values[t][static_cast<size_t>(c)];
      a.out[i * a.out_stride + c] = static_cast<float>(sum);
    }
  }
}

}  // namespace hadal::reference
