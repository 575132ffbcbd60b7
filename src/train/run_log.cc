#include "train/run_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kLogName = "log.jsonl";
// Lines of a run of a million updates.
constexpr size_t kMaxLogBytes = size_t{1} << 30;

/// The update that a line is of; -1: it is no line of this log.
int64_t StepOf(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return -1;
  for (const char* key : {"step", "evaluated_at"})
    if (json.contains(key) && json[key].is_number_integer()) return json[key];
  return -1;
}

}  // namespace

Result<RunLog> RunLog::Open(const Path& out, int64_t step) {
  RunLog log(out);
  const Path path = out / kLogName;
  std::string kept;
  std::error_code error;
  if (std::filesystem::exists(path, error)) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxLogBytes));
    for (size_t from = 0; from < text.size();) {
      const size_t end = text.find('\n', from);
      if (end == std::string::npos) break;  // cut short by a kill
      std::string line = text.substr(from, end - from);
      from = end + 1;
      const int64_t of = StepOf(line);
      if (of < 0 || of > step) continue;
      kept += line + "\n";
      log.lines_.push_back(std::move(line));
    }
  }
  RETURN_IF_ERROR(WriteFileAtomic(path, kept));
  return log;
}

Status RunLog::Append(const std::string& line) {
  const Path path = out_ / kLogName;
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return FailedPrecondition("{}: {}", path.string(), std::strerror(errno));
  const std::string text = line + "\n";
  const ssize_t written = write(fd, text.data(), text.size());
  const int reason = errno;
  close(fd);
  if (written != static_cast<ssize_t>(text.size()))
    return ResourceExhausted("{}: {}", path.string(), written < 0 ? std::strerror(reason) : "the disk is full");
  lines_.push_back(line);
  return {};
}

Status RunLog::Add(const RunProgress& p) {
  const StepReport& r = p.report;
  const Json json = {{"step", r.step},
                     {"loss", r.loss},
                     {"mtp_loss", r.mtp_loss},
                     {"balance_loss", r.balance_loss},
                     {"accuracy", r.accuracy},
                     {"mtp_accuracy", r.mtp_accuracy},
                     {"gradient_norm", r.gradient_norm},
                     {"learning_rate", r.learning_rate},
                     {"loss_scale", r.loss_scale},
                     {"skipped", r.skipped},
                     {"tokens", r.tokens},
                     {"dropped_share", r.dropped_share},
                     {"load_imbalance", r.load_imbalance},
                     {"gradient_bytes", r.bytes_reduced},
                     {"gradient_bytes_uncompressed", r.bytes_uncompressed},
                     {"seconds", p.seconds},
                     {"data_wait_seconds", p.waited_seconds},
                     {"tokens_per_second", p.tokens_per_second},
                     {"peak_share", p.peak_share},
                     {"epochs", p.epochs}};
  return Append(json.dump());
}

Status RunLog::Add(const Evaluation& e) {
  const Json json = {{"evaluated_at", e.step}, {"loss", e.loss}, {"mtp_loss", e.mtp_loss}, {"accuracy", e.accuracy},
                     {"mtp_accuracy", e.mtp_accuracy}};
  return Append(json.dump());
}

Status RunLog::Draw() const {
  std::vector<std::pair<double, double>> training, held_out;
  for (const std::string& line : lines_) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("loss") || !json["loss"].is_number()) continue;
    const double loss = json["loss"];
    if (json.contains("step")) training.emplace_back(json["step"].get<double>(), loss);
    if (json.contains("evaluated_at")) held_out.emplace_back(json["evaluated_at"].get<double>(), loss);
  }
  return WriteFileAtomic(out_ / "loss.svg", LossSvg(training, held_out));
}

namespace {

constexpr double kWidth = 720, kHeight = 400, kLeft = 70, kRight = 20, kTop = 40, kBottom = 50;
// Points that a line shows; more are means of neighbours.
constexpr size_t kMostPoints = 400;

using Points = std::vector<std::pair<double, double>>;

Points Thin(const Points& points) {
  if (points.size() <= kMostPoints) return points;
  Points thin;
  for (size_t i = 0; i < kMostPoints; ++i) {
    const size_t begin = points.size() * i / kMostPoints, end = points.size() * (i + 1) / kMostPoints;
    double x = 0, y = 0;
    for (size_t k = begin; k < end; ++k) x += points[k].first, y += points[k].second;
    const auto n = static_cast<double>(end - begin);
    thin.emplace_back(x / n, y / n);
  }
  return thin;
}

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

std::string LossSvg(const Points& training, const Points& held_out) {
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
  svg += Line(axes, Thin(training), "#1f5fa8");
  svg += Label(kWidth - kRight - 120, kTop - 16, "end", "<tspan fill=\"#1f5fa8\">training</tspan>");
  if (!held_out.empty()) {
    svg += Line(axes, held_out, "#c0392b");
    svg += Label(kWidth - kRight, kTop - 16, "end", "<tspan fill=\"#c0392b\">held out</tspan>");
  }
  return svg + "</svg>\n";
}

}  // namespace hadal::train
