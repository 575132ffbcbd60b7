// The folder that Prepare writes: what it was begun with, and which units are finished.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "train/data/token_shards.h"

namespace hadal::train {

/// What came out of a unit.
struct UnitRecord {
  struct Part {
    ShardInfo shard;
    int64_t learnt_tokens = 0;
  };
  uint64_t input_checksum = 0;
  std::optional<Part> training, held_out;
  int64_t skipped = 0;
  std::vector<std::string> skipped_examples;
};

class PrepareFolder {
 public:
  /// Makes the folders, or goes on in them. `plan` says all that decides what is written.
  /// kFailedPrecondition: see Prepare. Holds a lock until the end.
  static Result<PrepareFolder> Open(const Path& out, const Path& held_out,
                                    const nlohmann::ordered_json& plan);
  PrepareFolder(PrepareFolder&& other) noexcept;
  PrepareFolder& operator=(PrepareFolder&&) = delete;
  ~PrepareFolder();

  /// The record of a finished unit whose shards are as they were written; nothing if there is none.
  std::optional<UnitRecord> Finished(int64_t unit) const;
  Status Save(int64_t unit, const UnitRecord& record) const;

  const Path& out() const { return out_; }
  const Path& held_out() const { return held_out_; }

 private:
  PrepareFolder() = default;
  Path RecordPath(int64_t unit) const;
  Path out_, held_out_;
  int lock_ = -1;
};

}  // namespace hadal::train
