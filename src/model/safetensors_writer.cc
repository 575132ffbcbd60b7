#include "model/safetensors_writer.h"

#include <simdjson.h>

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "model/safetensors.h"

namespace hadal {
namespace {

constexpr uint64_t kHeaderAlignment = 64;
constexpr std::string_view kMetadataKey = "__metadata__";

/// `text` as a JSON string. It must be UTF-8.
std::string Quoted(const std::string& text) { return nlohmann::json(text).dump(); }

bool IsUtf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

/// Bytes of a declared tensor; its faults are the caller's, hence kInvalidArgument.
Result<uint64_t> DeclaredBytes(const TensorDeclaration& tensor) {
  if (!IsUtf8(tensor.name)) return InvalidArgument("a tensor's name is not valid UTF-8");
  if (tensor.name == kMetadataKey) return InvalidArgument("a tensor cannot be called {}", kMetadataKey);
  if (tensor.shape.size() > kMaxTensorRank)
    return InvalidArgument("tensor '{}' has {} dimensions, {} are the most", Shown(tensor.name),
                           tensor.shape.size(), kMaxTensorRank);
  const auto bytes = TensorBytes(tensor.dtype, tensor.shape);
  if (!bytes) return InvalidArgument("tensor '{}': {}", Shown(tensor.name), bytes.error().message);
  return *bytes;
}

Result<std::string> MetadataText(const std::map<std::string, std::string>& metadata) {
  std::string text = fmt::format("\"{}\":{{", kMetadataKey);
  for (const auto& [key, value] : metadata) {
    if (!IsUtf8(key) || !IsUtf8(value))
      return InvalidArgument("metadata '{}' is not valid UTF-8", Shown(key));
    if (text.back() != '{') text += ',';
    text += Quoted(key) + ":" + Quoted(value);
  }
  return text + "}";
}

/// kResourceExhausted if the disk of `folder` has less than `needed` bytes free for `what`.
Status CheckRoom(const Path& folder, const Path& what, uint64_t needed) {
  ASSIGN_OR_RETURN(const uint64_t free, FreeDiskBytes(folder.empty() ? Path(".") : folder));
  if (needed <= free) return {};
  return ResourceExhausted(
      "{} needs {} bytes of disk, and {} are free there; make room for {} more or choose another "
      "disk",
      what.string(), needed, free, needed - free);
}

}  // namespace

Result<std::string> MakeSafetensorsHeader(std::span<const TensorDeclaration> tensors,
                                          const std::map<std::string, std::string>& metadata) {
  if (tensors.size() > kMaxCheckpointTensors)
    return ResourceExhausted("{} tensors are more than the {} that one file may hold", tensors.size(),
                             kMaxCheckpointTensors);
  std::string json = "{";
  if (!metadata.empty()) {
    ASSIGN_OR_RETURN(const std::string text, MetadataText(metadata));
    json += text;
  }
  std::unordered_set<std::string_view> names;
  uint64_t begin = 0;
  for (const TensorDeclaration& tensor : tensors) {
    ASSIGN_OR_RETURN(const uint64_t bytes, DeclaredBytes(tensor));
    if (!names.insert(tensor.name).second)
      return InvalidArgument("tensor '{}' is declared twice", Shown(tensor.name));
    uint64_t end;
    if (__builtin_add_overflow(begin, bytes, &end) || end > uint64_t{INT64_MAX})
      return InvalidArgument("tensor '{}' would end beyond what a file can hold", Shown(tensor.name));
    if (json.size() > 1) json += ',';
    json +=
        fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", Quoted(tensor.name),
                    DTypeName(tensor.dtype), fmt::join(tensor.shape, ","), begin, end);
    begin = end;
  }
  json += '}';
  json.append((kHeaderAlignment - (8 + json.size()) % kHeaderAlignment) % kHeaderAlignment, ' ');
  if (json.size() > kMaxSafetensorsHeaderBytes)
    return ResourceExhausted("the header would be {} bytes long, the format allows {}", json.size(),
                             kMaxSafetensorsHeaderBytes);
  std::string header;
  for (int i = 0; i < 8; ++i) header += static_cast<char>(json.size() >> (8 * i));
  return header + json;
}

Result<SafetensorsWriter> SafetensorsWriter::Create(const Path& path, std::vector<TensorDeclaration> tensors,
                                                    const std::map<std::string, std::string>& metadata) {
  const auto header = MakeSafetensorsHeader(tensors, metadata);
  if (!header) return MakeError(header.error().code, "{}: {}", path.string(), header.error().message);
  std::vector<Pending> pending;
  uint64_t total = header->size();
  for (TensorDeclaration& tensor : tensors) {
    const uint64_t bytes = DeclaredBytes(tensor).value();  // checked with the header
    pending.push_back({std::move(tensor.name), bytes, 0});
    total += bytes;
  }
  RETURN_IF_ERROR(CheckRoom(path.parent_path(), path, total));
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(*header));
  SafetensorsWriter writer(path, std::move(file));
  writer.tensors_ = std::move(pending);
  return writer;
}

Status SafetensorsWriter::Write(std::string_view name, std::span<const std::byte> bytes) {
  if (broken_)
    return FailedPrecondition("{} takes no more bytes: it is finished, or a write failed", path_.string());
  // A complete tensor keeps its turn until another is named, so that empty tensors may be written or left
  // out.
  size_t turn = current_;
  while (turn < tensors_.size() && tensors_[turn].name != name &&
         tensors_[turn].written == tensors_[turn].bytes)
    ++turn;
  if (turn == tensors_.size() || tensors_[turn].name != name)
    return InvalidArgument("{}: it is not the turn of tensor '{}', but of '{}'", path_.string(), Shown(name),
                           turn < tensors_.size() ? Shown(tensors_[turn].name) : "none");
  Pending& tensor = tensors_[turn];
  if (bytes.size() > tensor.bytes - tensor.written)
    return InvalidArgument("{}: tensor '{}' has {} bytes, {} more were given after {}", path_.string(),
                           Shown(name), tensor.bytes, bytes.size(), tensor.written);
  current_ = turn;
  if (auto status = file_.Write(bytes); !status) {
    broken_ = true;
    return status;
  }
  tensor.written += bytes.size();
  return {};
}

Status SafetensorsWriter::Finish() {
  if (broken_) return FailedPrecondition("{} cannot be finished: it is, or a write failed", path_.string());
  for (const Pending& tensor : std::span(tensors_).subspan(current_))
    if (tensor.written != tensor.bytes)
      return FailedPrecondition("{} cannot be finished: tensor '{}' has {} bytes, {} were written",
                                path_.string(), Shown(tensor.name), tensor.bytes, tensor.written);
  broken_ = true;
  return file_.Commit();
}

namespace {

/// Greedy, order kept; always at least one shard.
Result<std::vector<std::vector<TensorDeclaration>>> PlanShards(std::vector<TensorDeclaration> tensors,
                                                               uint64_t limit) {
  std::vector<std::vector<TensorDeclaration>> shards(1);
  uint64_t used = 0;
  for (TensorDeclaration& tensor : tensors) {
    ASSIGN_OR_RETURN(const uint64_t bytes, DeclaredBytes(tensor));
    if (used > 0 && bytes > 0 && (used > limit || bytes > limit - used)) {
      shards.emplace_back();
      used = 0;
    }
    used += bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

Status PrepareFolder(const Path& dir) {
  std::error_code error;
  std::filesystem::create_directory(dir, error);
  if (error || !std::filesystem::is_directory(dir, error))
    return InvalidArgument("{} is no folder and cannot be made one: {}", dir.string(),
                           error ? error.message() : "a file is in its place");
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
    if (std::filesystem::exists(std::filesystem::symlink_status(dir / name, error)))
      return FailedPrecondition("{} already holds {}; choose an empty folder", dir.string(), name);
  return {};
}

}  // namespace

Result<ShardedWriter> ShardedWriter::Create(const Path& dir, std::vector<TensorDeclaration> tensors,
                                            ShardOptions options) {
  RETURN_IF_ERROR(PrepareFolder(dir));
  ShardedWriter writer;
  writer.dir_ = dir;
  writer.options_ = std::move(options);
  writer.options_.metadata.emplace("format", "pt");
  ASSIGN_OR_RETURN(writer.shards_, PlanShards(std::move(tensors), writer.options_.max_shard_bytes));
  uint64_t file_bytes = 0;
  for (size_t shard = 0; shard < writer.shards_.size(); ++shard) {
    ASSIGN_OR_RETURN(const std::string header,
                     MakeSafetensorsHeader(writer.shards_[shard], writer.options_.metadata));
    file_bytes += header.size();
    for (const TensorDeclaration& tensor : writer.shards_[shard]) {
      if (!writer.shard_of_.emplace(tensor.name, shard).second)
        return InvalidArgument("tensor '{}' is declared twice", Shown(tensor.name));
      if (__builtin_add_overflow(writer.total_bytes_, DeclaredBytes(tensor).value(), &writer.total_bytes_))
        return InvalidArgument("tensor '{}' would end beyond what a disk can hold", Shown(tensor.name));
    }
  }
  if (__builtin_add_overflow(file_bytes, writer.total_bytes_, &file_bytes)) file_bytes = UINT64_MAX;
  RETURN_IF_ERROR(CheckRoom(dir, dir, file_bytes));
  RETURN_IF_ERROR(writer.OpenShard(0));
  return writer;
}

ShardedWriter::~ShardedWriter() {
  std::error_code ignored;
  for (const Path& path : unfinished_) std::filesystem::remove(path, ignored);
}

std::string ShardedWriter::ShardName(size_t shard) const {
  if (shards_.size() == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards_.size());
}

Status ShardedWriter::OpenShard(size_t shard) {
  writer_.reset();
  current_ = shard;
  ASSIGN_OR_RETURN(SafetensorsWriter writer,
                   SafetensorsWriter::Create(dir_ / ShardName(shard), shards_[shard], options_.metadata));
  writer_.emplace(std::move(writer));
  return {};
}

Status ShardedWriter::Write(std::string_view name, std::span<const std::byte> bytes) {
  if (!writer_)
    return FailedPrecondition("{} takes no more bytes: it is finished, or a write failed", dir_.string());
  const auto found = shard_of_.find(std::string(name));
  if (found == shard_of_.end())
    return InvalidArgument("{}: tensor '{}' was not declared", dir_.string(), Shown(name));
  while (current_ < found->second) {
    unfinished_.push_back(dir_ / ShardName(current_));
    RETURN_IF_ERROR(writer_->Finish());
    RETURN_IF_ERROR(OpenShard(current_ + 1));
  }
  return writer_->Write(name, bytes);  // which also refuses a tensor of a shard that is done
}

Status ShardedWriter::Finish() {
  if (!writer_) return FailedPrecondition("{} cannot be finished: it is, or a write failed", dir_.string());
  if (current_ + 1 < shards_.size())
    return FailedPrecondition("{} cannot be finished: tensor '{}' was not written", dir_.string(),
                              Shown(shards_[current_ + 1].front().name));
  unfinished_.push_back(dir_ / ShardName(current_));
  RETURN_IF_ERROR(writer_->Finish());
  writer_.reset();
  if (shards_.size() > 1)
    RETURN_IF_ERROR(WriteFileAtomic(dir_ / "model.safetensors.index.json", IndexText()));
  unfinished_.clear();
  return {};
}

std::string ShardedWriter::IndexText() const {
  nlohmann::json map = nlohmann::json::object();
  for (const auto& [name, shard] : shard_of_) map[name] = ShardName(shard);
  nlohmann::json index;
  index["metadata"]["total_size"] = total_bytes_;
  index["weight_map"] = std::move(map);
  return index.dump(2) + "\n";
}

}  // namespace hadal
