#include "ops/bench_serve_plot.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace hadal {
namespace {

// Of a panel, in pixels.
constexpr double kWidth = 440, kHeight = 270;
constexpr double kLeft = 62, kRight = 18, kTop = 52, kBottom = 48;
constexpr double kHeadHeight = 54;
constexpr const char* kColors[] = {"#1b6ca8", "#d1720a", "#a3214f"};

struct Line {
  std::string name;
  std::vector<double> values;  // one a point
};

struct Panel {
  std::string title, unit;
  std::vector<Line> lines;
};

struct Axis {
  std::vector<double> values;  // of the points
  bool logarithmic = false;
  std::string name;
  double At(double value) const {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (*least == *most) return 0.5;
    const auto scale = [&](double v) { return logarithmic ? std::log(v) : v; };
    return (scale(value) - scale(*least)) / (scale(*most) - scale(*least));
  }
};

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

std::string Text(double x, double y, const char* style, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\">{}</text>\n", x, y, style, Escaped(text));
}

/// 1, 2 or 5 times a power of ten, so that about four steps reach `most`.
double StepFor(double most) {
  const double rough = std::max(most, 1e-9) / 4;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) return factor * power;
  return 10 * power;
}

double X(const Axis& axis, double value) {
  return kLeft + 12 + axis.At(value) * (kWidth - kLeft - kRight - 24);
}

/// The frame, the grid, and the units at both axes.
std::string Frame(const Panel& panel, const Axis& axis, double top) {
  std::string svg = Text(kLeft, 18, "title", panel.title + ", " + panel.unit);
  const double step = StepFor(top), plot = kHeight - kTop - kBottom;
  for (int i = 0; i * step <= top * 1.0001; ++i) {
    const double y = kHeight - kBottom - i * step / top * plot;
    svg += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n",
                       kLeft, y, kWidth - kRight, y, i == 0 ? "axis" : "grid");
    svg += Text(kLeft - 6, y + 4, "y", fmt::format("{:g}", i * step));
  }
  double last = -1e9;
  for (const double value : axis.values) {
    const double x = X(axis, value);
    if (x - last < 24) continue;  // labels would overlap
    last = x;
    svg += fmt::format("<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"axis\"/>\n",
                       x, kHeight - kBottom, kHeight - kBottom + 4);
    svg += Text(x, kHeight - kBottom + 17, "x", fmt::format("{:g}", value));
  }
  return svg + Text((kLeft + kWidth - kRight) / 2, kHeight - 10, "x", axis.name);
}

std::string Draw(const Panel& panel, const Axis& axis) {
  double most = 0;
  for (const Line& line : panel.lines)
    for (const double value : line.values) most = std::max(most, value);
  const double step = StepFor(most), top = std::max(std::ceil(most / step) * step, step);
  std::string svg = Frame(panel, axis, top);
  double legend = kLeft;
  for (size_t i = 0; i < panel.lines.size(); ++i) {
    const Line& line = panel.lines[i];
    std::string points, dots;
    for (size_t p = 0; p < line.values.size(); ++p) {
      const double x = X(axis, axis.values[p]);
      const double y = kHeight - kBottom - line.values[p] / top * (kHeight - kTop - kBottom);
      points += fmt::format("{:.1f},{:.1f} ", x, y);
      dots += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"><title>{}: {:.4g} {}</title></circle>\n",
          x, y, kColors[i % 3], Escaped(line.name), line.values[p], Escaped(panel.unit));
    }
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n{}", points,
                       kColors[i % 3], dots);
    svg += fmt::format("<rect x=\"{:.1f}\" y=\"29\" width=\"14\" height=\"4\" fill=\"{}\"/>\n", legend,
                       kColors[i % 3]);
    svg += Text(legend + 19, 36, "legend", line.name);
    legend += 30 + 6.5 * static_cast<double>(line.name.size());
  }
  return svg;
}

Panel Percentiles(const ServeBenchReport& report, const char* title,
                  LatencyHistogram ServePoint::*histogram) {
  Panel panel{title, "ms", {{"50 %", {}}, {"90 %", {}}, {"99 %", {}}}};
  for (const ServePoint& point : report.points) {
    const LatencySummary s = (point.*histogram).Summary();
    panel.lines[0].values.push_back(s.p50 * 1e3);
    panel.lines[1].values.push_back(s.p90 * 1e3);
    panel.lines[2].values.push_back(s.p99 * 1e3);
  }
  return panel;
}

std::vector<Panel> Panels(const ServeBenchReport& report) {
  Panel tokens{"Throughput", "tokens/s", {{"output", {}}}};
  Panel requests{"Requests", "1/s", {{"succeeded", {}}}};
  if (report.options.slo.any()) requests.lines.push_back({"within the limits", {}});
  for (const ServePoint& point : report.points) {
    tokens.lines[0].values.push_back(point.PerSecond(point.output_tokens));
    requests.lines[0].values.push_back(point.PerSecond(point.succeeded));
    if (requests.lines.size() > 1) requests.lines[1].values.push_back(point.PerSecond(point.good));
  }
  return {tokens, requests, Percentiles(report, "Time to first token", &ServePoint::ttft),
          Percentiles(report, "Time per token after it", &ServePoint::tpot)};
}

}  // namespace

std::string ServeBenchSvg(const ServeBenchReport& report) {
  const bool open = !report.options.rates.empty();
  Axis axis;
  axis.name = open ? "requests sent a second" : "requests at once";
  for (const ServePoint& point : report.points)
    axis.values.push_back(open ? point.rate : static_cast<double>(point.concurrency));
  if (!axis.values.empty()) {
    const auto [least, most] = std::minmax_element(axis.values.begin(), axis.values.end());
    axis.logarithmic = *most >= 8 * *least;
    if (axis.logarithmic) axis.name += " (logarithmic)";
  }
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\">\n"
      "<style>text{{font:12px "
      "sans-serif;fill:#222}}.title{{font-weight:bold}}.head{{font-size:15px;font-weight:bold}}"
      ".y{{text-anchor:end}}.x{{text-anchor:middle}}.grid{{stroke:#ddd}}.axis{{stroke:#555}}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      2 * kWidth, kHeadHeight + 2 * kHeight);
  const ServeBenchOptions& o = report.options;
  svg += Text(16, 24, "head", o.dialect.model + ", " + report.date);
  svg += Text(16, 42, "legend",
              fmt::format("prompts of {} to {} tokens, answers of {} to {}; {}", o.prompts.input.least,
                          o.prompts.input.most, o.prompts.output.least, o.prompts.output.most,
                          open ? "open loop" : "closed loop"));
  const std::vector<Panel> panels = report.points.empty() ? std::vector<Panel>() : Panels(report);
  for (size_t i = 0; i < panels.size(); ++i)
    svg += fmt::format("<g transform=\"translate({:.0f},{:.0f})\">\n{}</g>\n",
                       static_cast<double>(i % 2) * kWidth,
                       kHeadHeight + static_cast<double>(i / 2) * kHeight, Draw(panels[i], axis));
  return svg + "</svg>\n";
}

}  // namespace hadal
