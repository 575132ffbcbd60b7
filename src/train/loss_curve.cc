#include "train/loss_curve.h"

#include <algorithm>
#include <cmath>

namespace hadal::train {
namespace {

constexpr double kWidth = 720, kHeight = 400, kLeft = 70, kRight = 20, kTop = 40, kBottom = 50;

using Points = std::vector<std::pair<double, double>>;

struct Axes {
  double x_max = 1, y_min = 0, y_max = 1;
  bool log = false;
  double X(double step) const { return kLeft + (kWidth - kLeft - kRight) * step / x_max; }
  double Y(double loss) const {
    const double at = log ? (std::log(loss) - std::log(y_min)) / (std::log(y_max) - std::log(y_min))
                          : (loss - y_min) / (y_max - y_min);
    return kHeight - kBottom - (kHeight - kTop - kBottom) * std::clamp(at, 0.0, 1.0);
  }
};

Axes AxesOf(const Points& a, const Points& b) {
  Axes axes;
  double low = INFINITY, high = -INFINITY;
  for (const Points* points : {&a, &b})
    for (const auto& [x, y] : *points) {
      axes.x_max = std::max(axes.x_max, x);
      if (std::isfinite(y)) low = std::min(low, y), high = std::max(high, y);
    }
  if (!(low <= high)) return axes;
  axes.log = low > 0 && high / low > 10;
  axes.y_min = axes.log ? low / 1.1 : std::max(0.0, low - 0.05 * (high - low));
  axes.y_max = high > axes.y_min ? high * 1.05 : axes.y_min + 1;
  return axes;
}

std::string Line(const Axes& axes, const Points& points, const char* color) {
  std::string path;
  for (const auto& [x, y] : points)
    if (std::isfinite(y)) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", axes.X(x), axes.Y(y));
  return fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>\n", path, color);
}

std::string Label(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, text);
}

}  // namespace

void Curve::Add(double x, double y) {
  if (!std::isfinite(x) || !std::isfinite(y)) return;
  sum_.first += x;
  sum_.second += y;
  if (++summed_ < stride_) return;
  points_.push_back(Open());
  sum_ = {};
  summed_ = 0;
  if (points_.size() < kMostPoints) return;
  for (size_t i = 0; i < kMostPoints / 2; ++i)
    points_[i] = {(points_[2 * i].first + points_[2 * i + 1].first) / 2,
                  (points_[2 * i].second + points_[2 * i + 1].second) / 2};
  points_.resize(kMostPoints / 2);
  stride_ *= 2;
}

std::pair<double, double> Curve::Open() const {
  return {sum_.first / static_cast<double>(summed_), sum_.second / static_cast<double>(summed_)};
}

std::vector<std::pair<double, double>> Curve::points() const {
  std::vector<std::pair<double, double>> all = points_;
  if (summed_ > 0) all.push_back(Open());
  return all;
}

std::string LossSvg(const Curve& training_curve, const Curve& held_out_curve) {
  const Points training = training_curve.points(), held_out = held_out_curve.points();
  const Axes axes = AxesOf(training, held_out);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", kWidth, kHeight);
  for (int i = 0; i <= 5; ++i) {
    const double share = i / 5.0;
    const double loss = axes.log ? axes.y_min * std::pow(axes.y_max / axes.y_min, share)
                                 : axes.y_min + (axes.y_max - axes.y_min) * share;
    svg += fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n", kLeft,
                       kWidth - kRight, axes.Y(loss), axes.Y(loss));
    svg += Label(kLeft - 8, axes.Y(loss) + 4, "end", fmt::format("{:.3g}", loss));
    svg += Label(axes.X(axes.x_max * share), kHeight - kBottom + 18, "middle", fmt::format("{:.0f}", axes.x_max * share));
  }
  svg += Label(kWidth / 2, kHeight - 12, "middle", "update");
  svg += Label(kLeft, kTop - 16, "start", axes.log ? "loss (nats a token, logarithmic)" : "loss (nats a token)");
  svg += Line(axes, training, "#1f5fa8");
  svg += Label(kWidth - kRight - 120, kTop - 16, "end", "<tspan fill=\"#1f5fa8\">training</tspan>");
  if (!held_out.empty()) {
    svg += Line(axes, held_out, "#c0392b");
    svg += Label(kWidth - kRight, kTop - 16, "end", "<tspan fill=\"#c0392b\">held out</tspan>");
  }
  return svg + "</svg>\n";
}

}  // namespace hadal::train
