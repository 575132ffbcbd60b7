#include "train/data/prepare_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/checksum.h"

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kPlanName = "prepare.json";
constexpr const char* kUnitsName = "units";

/// Makes a folder whose parent exists.
Status MakeFolder(const Path& folder) {
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (!error && std::filesystem::is_directory(folder, error)) return {};
  return Unavailable("cannot make the folder {}: {}", folder.string(),
                     error ? error.message() : "a file has the name");
}

/// What a run that was killed left half-written.
void RemoveTemporaries(const Path& folder) {
  std::error_code error;
  std::vector<Path> old;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().filename().string().find(".tmp.") != std::string::npos) old.push_back(at->path());
  for (const Path& path : old) std::filesystem::remove(path, error);
}

bool IsEmpty(const Path& folder) {
  std::error_code error;
  return std::filesystem::is_empty(folder, error);
}

Status CheckPlan(const Path& path, const Json& plan) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const Json old = Json::parse(text, nullptr, false);
  if (!old.is_object())
    return DataLoss("{} is no JSON object; remove the folder and begin again", path.string());
  for (const auto& [key, value] : plan.items())
    if (!old.contains(key) || old[key] != value) {
      const bool brief = !value.is_structured() && old.contains(key);
      return FailedPrecondition(
          "{} was begun with other '{}'{}; take another folder, or remove this one",
          path.parent_path().string(), key,
          brief ? fmt::format(" ({} there, {} now)", old[key].dump(), value.dump()) : std::string());
    }
  return {};
}

/// Whether a shard is there and as it was written.
bool IsIntact(const Path& folder, const ShardInfo& info) {
  const auto file = MappedFile::Open(folder / info.name);
  if (!file) return false;
  Checksum sum;
  sum.Add(file->bytes());
  return sum.value() == info.checksum;
}

Json PartJson(const std::optional<UnitRecord::Part>& part) {
  if (!part) return nullptr;
  return {{"name", part->shard.name},
          {"tokens", part->shard.tokens},
          {"documents", part->shard.documents},
          {"learnt_tokens", part->learnt_tokens},
          {"checksum", fmt::format("{:016x}", part->shard.checksum)}};
}

uint64_t Hexadecimal(const Json& json) { return std::stoull(json.get<std::string>(), nullptr, 16); }

std::optional<UnitRecord::Part> PartOf(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return UnitRecord::Part{
      {json.at("name"), json.at("tokens"), json.at("documents"), Hexadecimal(json.at("checksum"))},
      json.at("learnt_tokens")};
}

}  // namespace

Result<PrepareFolder> PrepareFolder::Open(const Path& out, const Path& held_out, const Json& plan) {
  PrepareFolder folder;
  folder.out_ = out;
  folder.held_out_ = held_out;
  RETURN_IF_ERROR(MakeFolder(out));
  folder.lock_ = open(out.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder.lock_ < 0) return Unavailable("cannot open {}: {}", out.string(), std::strerror(errno));
  if (flock(folder.lock_, LOCK_EX | LOCK_NB) != 0)
    return FailedPrecondition("{} is being written by another process", out.string());
  RemoveTemporaries(out);
  const Path plan_path = out / kPlanName;
  std::error_code ignored;
  const bool begun = std::filesystem::exists(plan_path, ignored);
  for (const Path& each : {out, held_out}) {
    if (each.empty()) continue;
    RETURN_IF_ERROR(MakeFolder(each));
    if (begun) RemoveTemporaries(each);
    if (!begun && !IsEmpty(each))
      return FailedPrecondition("{} is not empty; take another folder, or remove this one", each.string());
  }
  if (begun) {
    RETURN_IF_ERROR(CheckPlan(plan_path, plan));
  } else {
    RETURN_IF_ERROR(WriteFileAtomic(plan_path, plan.dump(1) + "\n"));
  }
  RETURN_IF_ERROR(MakeFolder(out / kUnitsName));
  RemoveTemporaries(out / kUnitsName);
  return folder;
}

PrepareFolder::PrepareFolder(PrepareFolder&& other) noexcept
    : out_(std::move(other.out_)),
      held_out_(std::move(other.held_out_)),
      lock_(std::exchange(other.lock_, -1)) {}

PrepareFolder::~PrepareFolder() {
  if (lock_ >= 0) close(lock_);
}

Path PrepareFolder::RecordPath(int64_t unit) const {
  return out_ / kUnitsName / fmt::format("{:05d}.json", unit);
}

std::optional<UnitRecord> PrepareFolder::Finished(int64_t unit) const {
  const auto text = ReadFile(RecordPath(unit));
  if (!text) return std::nullopt;
  const Json json = Json::parse(*text, nullptr, false);
  UnitRecord record;
  try {
    record.input_checksum = Hexadecimal(json.at("input"));
    record.training = PartOf(json.at("training"));
    record.held_out = PartOf(json.at("held_out"));
    record.skipped = json.at("skipped");
    record.skipped_examples = json.at("skipped_examples").get<std::vector<std::string>>();
  } catch (const std::exception&) {
    return std::nullopt;  // a record that cannot be read is none: the unit is done again
  }
  const std::string name = TokenShardName(unit);
  for (const auto& [part, dir] :
       {std::pair(&record.training, &out_), std::pair(&record.held_out, &held_out_)})
    if (*part && ((*part)->shard.name != name || !IsIntact(*dir, (*part)->shard))) return std::nullopt;
  return record;
}

Status PrepareFolder::Save(int64_t unit, const UnitRecord& record) const {
  const Json json = {{"input", fmt::format("{:016x}", record.input_checksum)},
                     {"training", PartJson(record.training)},
                     {"held_out", PartJson(record.held_out)},
                     {"skipped", record.skipped},
                     {"skipped_examples", record.skipped_examples}};
  return WriteFileAtomic(RecordPath(unit), json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace hadal::train
