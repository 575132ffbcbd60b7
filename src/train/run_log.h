// What a run writes for those who look at it later: a line of JSON for each update, and the loss as a picture.
#pragma once

#include <string>

#include "train/run.h"

namespace hadal::train {

/// Appends to out/log.jsonl, a line at a time; a line is either an update ("step", "loss", …) or an evaluation
/// ("evaluated_at", …). After a resume, lines of updates that will come again are taken out first. Nothing of it is held
/// in memory.
class RunLog {
 public:
  /// Keeps lines up to update `step`.
  static Result<RunLog> Open(const Path& out, int64_t step);
  /// kResourceExhausted, kFailedPrecondition: the line is not in the file, nor a part of it.
  Status Add(const RunProgress& progress);
  Status Add(const Evaluation& evaluation);
  /// Writes out/loss.svg from what the log holds.
  Status Draw() const;

 private:
  explicit RunLog(Path out) : out_(std::move(out)) {}
  Status Append(const std::string& line);
  Path out_;
};

}  // namespace hadal::train
