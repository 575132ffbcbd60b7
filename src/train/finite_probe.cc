#include "train/finite_probe.h"

#include <fmt/format.h>

#include <cmath>

namespace hadal::train {
namespace {

// How descriptions begin; Report tells one kind from the other by it.
constexpr std::string_view kValue = "'", kGradient = "the gradient of '",
                           kParameterGradient = "the gradient of the parameter ";
constexpr size_t kLength = 256;  // of a description on its way to the other ranks

template <typename T>
int64_t FirstBad(View<const T> x) {
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t c = 0; c < x.cols; ++c)
      if (!std::isfinite(x.at(r, c))) return r * x.cols + c;
  return -1;
}

bool IsGradient(std::string_view text) {
  return text.starts_with(kGradient) || text.starts_with(kParameterGradient);
}

/// What came from a neighbour, who saw where it was made.
bool CameFromElsewhere(std::string_view text) {
  return text.starts_with("'input from the stage before'") ||
         text.starts_with("the gradient of 'output to the stage after'");
}

}  // namespace

template <typename T>
void FiniteProbe<T>::Note(std::string_view kind, std::string_view op, int64_t layer, View<const T> value) {
  if (!found_.empty()) return;
  const int64_t at = FirstBad(value);
  if (at < 0) return;
  const int64_t row = at / value.cols, col = at % value.cols;
  found_ = fmt::format("{}{}'{}", kind, op, layer < 0 ? "" : fmt::format(" of layer {}", layer));
  found_ += fmt::format(" (row {}, column {}: {})", row, col, static_cast<double>(value.at(row, col)));
}

template <typename T>
void FiniteProbe<T>::See(std::string_view op, int64_t layer, View<const T> value) {
  Note(kValue, op, layer, value);
}

template <typename T>
void FiniteProbe<T>::SeeGradient(std::string_view op, int64_t layer, View<const T> gradient) {
  Note(kGradient, op, layer, gradient);
}

template <typename T>
void FiniteProbe<T>::SeeParameters(const ShardSet<T>& params) {
  for (size_t i = 0; i < params.shards().size() && found_.empty(); ++i) {
    const int64_t at = FirstBad(View<const T>(params.parameter(i).value));
    if (at >= 0)
      found_ = fmt::format("the parameter {} (element {} of this rank's part)", params.shards()[i].name, at);
  }
}

template <typename T>
void FiniteProbe<T>::SeeGradients(const ShardSet<T>& params) {
  for (size_t i = 0; i < params.shards().size() && found_.empty(); ++i) {
    const int64_t at = FirstBad(View<const T>(params.parameter(i).grad));
    if (at >= 0)
      found_ = fmt::format("{}{} (element {} of this rank's part)", kParameterGradient,
                           params.shards()[i].name, at);
  }
}

template <typename T>
Status FiniteProbe<T>::Report(const ProcessMesh& mesh, int64_t step, std::string_view what) const {
  std::string mine = found_.substr(0, kLength - 1);
  mine.resize(kLength, '\0');
  const int ranks = mesh.world().size();
  std::string all(kLength * static_cast<size_t>(ranks), '\0');
  RETURN_IF_ERROR(mesh.world().AllGather(std::as_bytes(std::span(mine)),
                                         std::as_writable_bytes(std::span(all)), "what was no number"));
  // Ranks are in order of stages: values go up, and gradients, which come after all values, down.
  int first = -1;
  std::string found;
  for (int r = 0; r < ranks; ++r) {
    const std::string text = all.c_str() + kLength * static_cast<size_t>(r);
    if (text.empty() || CameFromElsewhere(text)) continue;
    if (first >= 0 && !IsGradient(found)) break;
    first = r;
    found = text;
  }
  if (first < 0)
    return DataLoss(
        "step {}: {} is not finite, although every value and gradient on each rank is: their sum is too "
        "large; lower the learning rate, or resume from a checkpoint before this step",
        step, what);
  return DataLoss(
      "step {}: {} is not finite; the first value that is no number was in {}, on rank {}; look at the data "
      "of this step, lower the learning rate, or resume from a checkpoint before it",
      step, what, found, first);
}

template class FiniteProbe<float>;
template class FiniteProbe<double>;

}  // namespace hadal::train
