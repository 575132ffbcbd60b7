#include "train/run_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "train/loss_curve.h"

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kLogName = "log.jsonl";
// A line of ours has some hundred bytes.
constexpr size_t kMaxLineBytes = 1 << 16;

/// The update that a line is of; -1: it is no line of this log.
int64_t StepOf(const Json& json) {
  if (!json.is_object()) return -1;
  for (const char* key : {"step", "evaluated_at"})
    if (json.contains(key) && json[key].is_number_integer()) return json[key];
  return -1;
}

/// Calls use(line) for each line of a file, a block of it in memory at a time. Lines that are too long to be ours, and a
/// last one that a kill cut short, are passed over.
template <typename Use>
Status ForEachLine(const Path& path, Use use) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FailedPrecondition("{}: {}", path.string(), std::strerror(errno));
  std::string block(kMaxLineBytes, '\0');
  size_t held = 0;  // bytes of a line that has begun
  bool too_long = false;
  Status status;
  for (ssize_t got; status && (got = read(fd, block.data() + held, block.size() - held)) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      status = FailedPrecondition("{}: {}", path.string(), std::strerror(errno));
      break;
    }
    std::string_view text(block.data(), held + static_cast<size_t>(got));
    for (size_t end; status && (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
      if (!too_long) status = use(text.substr(0, end));
      too_long = false;
    }
    held = text.size();
    std::memmove(block.data(), text.data(), held);
    if (held < block.size()) continue;
    too_long = true;
    held = 0;
  }
  close(fd);
  return status;
}

}  // namespace

Result<RunLog> RunLog::Open(const Path& out, int64_t step) {
  const Path path = out / kLogName;
  ASSIGN_OR_RETURN(AtomicFile kept, AtomicFile::Create(path));
  std::error_code error;
  if (std::filesystem::exists(path, error))
    RETURN_IF_ERROR(ForEachLine(path, [&](std::string_view line) -> Status {
      const int64_t of = StepOf(Json::parse(line, nullptr, false));
      if (of < 0 || of > step) return {};
      RETURN_IF_ERROR(kept.Write(line));
      return kept.Write("\n");
    }));
  RETURN_IF_ERROR(kept.Commit());
  return RunLog(out);
}

Status RunLog::Append(const std::string& line) {
  const Path path = out_ / kLogName;
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return FailedPrecondition("{}: {}", path.string(), std::strerror(errno));
  struct stat before = {};
  const bool known = fstat(fd, &before) == 0;
  const std::string text = line + "\n";
  const ssize_t written = write(fd, text.data(), text.size());
  const int reason = errno;
  const bool whole = written == static_cast<ssize_t>(text.size());
  // Half a line would spoil the next one.
  if (!whole && known && written > 0) [[maybe_unused]] const int cut = ftruncate(fd, before.st_size);
  close(fd);
  if (whole) return {};
  return ResourceExhausted("{}: {}", path.string(), written < 0 ? std::strerror(reason) : "the disk is full");
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
  Curve training, held_out;
  RETURN_IF_ERROR(ForEachLine(out_ / kLogName, [&](std::string_view line) -> Status {
    const Json json = Json::parse(line, nullptr, false);
    const int64_t step = StepOf(json);
    if (step < 0 || !json.contains("loss") || !json["loss"].is_number()) return {};
    (json.contains("step") ? training : held_out).Add(static_cast<double>(step), json["loss"]);
    return {};
  }));
  return WriteFileAtomic(out_ / "loss.svg", LossSvg(training, held_out));
}

}  // namespace hadal::train
