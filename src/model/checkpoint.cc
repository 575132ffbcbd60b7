#include "model/checkpoint.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>

#include "base/check.h"
#include "model/safetensors.h"

namespace hadal {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
/// Of the index's text. DeepSeek-V3's is 9 MB.
constexpr size_t kMaxIndexBytes = 200'000'000;

/// The error of `result` with the file's path before it.
template <typename T>
tl::unexpected<Error> InFile(const Path& path, const Result<T>& result) {
  return MakeError(result.error().code, "{}: {}", path.string(), result.error().message);
}

/// Asks for a mapped file's bytes before they are read. A mapping by itself reads when a page is touched, and the
/// thread that touches it waits: loading then takes the disk's time and its own, one after the other. Asked for early,
/// they overlap. Only reads that go on where earlier ones were are answered so; a look at one tensor asks for nothing.
class ReadAhead {
 public:
  /// Bytes [offset, offset + length) of `file` are about to be read. Thread-safe.
  void Note(const MappedFile& file, uint64_t offset, uint64_t length) {
    const uint64_t before = last_.exchange(offset, std::memory_order_relaxed);
    if (before == kNone || offset + kNear < before || before + kNear < offset) return;
    const uint64_t end = std::min<uint64_t>(offset + length + kAhead, file.bytes().size());
    uint64_t asked = asked_.load(std::memory_order_relaxed);
    const bool near = asked >= offset && asked <= end + kNear;
    uint64_t begin = near ? asked : offset;
    if (begin >= end || (near && end - begin < kAhead / 4 && end < file.bytes().size())) return;
    if (!asked_.compare_exchange_strong(asked, end, std::memory_order_relaxed)) return;  // another thread asks
    // The kernel cuts a request to what the device reads ahead at most.
    for (; begin < end; begin += kPiece) file.WillNeed(begin, std::min(kPiece, end - begin));
  }

 private:
  static constexpr uint64_t kAhead = 64 << 20;  // 70 ms of a disk of 0.9 GB/s, 10 ms of one of 6
  static constexpr uint64_t kNear = 32 << 20;   // several threads' pieces, and scales apart from their values
  static constexpr uint64_t kPiece = 1 << 20;
  static constexpr uint64_t kNone = ~uint64_t{0};
  std::atomic<uint64_t> last_{kNone};  // where the last read began
  std::atomic<uint64_t> asked_{0};     // where the last request ended
};

/// Mapped safetensors files, one or many, whose headers have been checked.
///
/// A mapped file that somebody truncates raises SIGBUS when it is touched beyond its end. Each Read asks the
/// file system first (well below a microsecond), which leaves only the moment between asking and touching.
class MappedCheckpoint final : public Checkpoint {
 public:
  explicit MappedCheckpoint(Path path) : path_(std::move(path)) {}

  /// Maps `file` as the next shard and appends its tensors, unsorted.
  Status AddFile(const Path& file);
  /// Sorts the tensors by name. kDataLoss if two shards hold the same one.
  Status Sort();
  /// That the tensors are those of the index, each in the shard it says. Call after Sort.
  Status CheckAgainst(const std::vector<IndexEntry>& index) const;

  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* Find(std::string_view name) const override;
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const Path& path() const override { return path_; }
  Result<std::span<const std::byte>> Read(const TensorInfo& tensor, uint64_t offset, uint64_t length,
                                          std::vector<std::byte>& scratch) const override;
  void Release(const TensorInfo& tensor, uint64_t offset, uint64_t length) const override;
  Status Verify() const override;

 private:
  std::string FileName(uint32_t shard) const { return files_[shard].path().filename().string(); }

  Path path_;
  std::vector<MappedFile> files_;
  std::vector<std::unique_ptr<ReadAhead>> ahead_;  // of each file
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

Status MappedCheckpoint::AddFile(const Path& file) {
  // Asked before opening: opening a pipe would wait for its other end. Links are followed, for the Hugging
  // Face cache is made of them.
  std::error_code ignored;
  const auto type = std::filesystem::status(file, ignored).type();
  if (type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular)
    return InvalidArgument("{} is not a regular file", file.string());
  ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(file));
  auto header = ParseSafetensorsHeader(mapped.bytes(), mapped.bytes().size());
  if (!header) return InFile(file, header);
  if (header->tensors.size() > kMaxCheckpointTensors - tensors_.size())
    return ResourceExhausted("{} holds more than the {} tensors that a folder may hold", path_.string(),
                             kMaxCheckpointTensors);
  for (TensorInfo& tensor : header->tensors) {
    tensor.shard = static_cast<uint32_t>(files_.size());
    tensors_.push_back(std::move(tensor));
  }
  metadata_.merge(header->metadata);
  files_.push_back(std::move(mapped));
  ahead_.push_back(std::make_unique<ReadAhead>());
  return {};
}

Status MappedCheckpoint::Sort() {
  auto order = [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(std::string_view(a.name), a.shard) < std::pair(std::string_view(b.name), b.shard);
  };
  std::sort(tensors_.begin(), tensors_.end(), order);
  auto same_name = [](const TensorInfo& a, const TensorInfo& b) { return a.name == b.name; };
  const auto twin = std::adjacent_find(tensors_.begin(), tensors_.end(), same_name);
  if (twin != tensors_.end())
    return DataLoss(
        "{}: tensor '{}' is in two shards, {} and {}; they are of different models or of a broken "
        "conversion",
        path_.string(), Shown(twin->name), FileName(twin->shard), FileName(std::next(twin)->shard));
  return {};
}

Status MappedCheckpoint::CheckAgainst(const std::vector<IndexEntry>& index) const {
  const std::string where = (path_ / kIndexFile).string();
  auto entry = index.begin();
  auto tensor = tensors_.begin();
  while (entry != index.end() || tensor != tensors_.end()) {
    if (tensor == tensors_.end() || (entry != index.end() && entry->tensor < tensor->name))
      return DataLoss(
          "{} says that tensor '{}' is in {}, and no shard holds it; copy or download the folder again",
          where, Shown(entry->tensor), entry->file);
    if (entry == index.end() || tensor->name < entry->tensor)
      return DataLoss(
          "{} does not name tensor '{}', which {} holds; index and shards are of different models", where,
          Shown(tensor->name), FileName(tensor->shard));
    if (entry->file != FileName(tensor->shard))
      return DataLoss(
          "{} says that tensor '{}' is in {}, and it is in {}; index and shards are of different models",
          where, Shown(entry->tensor), entry->file, FileName(tensor->shard));
    ++entry;
    ++tensor;
  }
  return {};
}

const TensorInfo* MappedCheckpoint::Find(std::string_view name) const {
  auto less = [](const TensorInfo& tensor, std::string_view wanted) { return tensor.name < wanted; };
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name, less);
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

Result<std::span<const std::byte>> MappedCheckpoint::Read(const TensorInfo& tensor, uint64_t offset,
                                                          uint64_t length, std::vector<std::byte>&) const {
  if (offset > tensor.bytes || length > tensor.bytes - offset)
    return InvalidArgument("{}: bytes {} and {} more of tensor '{}' were asked for, it has {}",
                           path_.string(), offset, length, Shown(tensor.name), tensor.bytes);
  HADAL_CHECK(tensor.shard < files_.size(), "tensor '{}' is of another checkpoint", tensor.name);
  const MappedFile& file = files_[tensor.shard];
  HADAL_CHECK(tensor.offset <= file.bytes().size() && tensor.bytes <= file.bytes().size() - tensor.offset,
              "tensor '{}' is of another checkpoint", tensor.name);
  RETURN_IF_ERROR(file.StillSame());
  ahead_[tensor.shard]->Note(file, tensor.offset + offset, length);
  return file.bytes().subspan(tensor.offset + offset, length);
}

void MappedCheckpoint::Release(const TensorInfo& tensor, uint64_t offset, uint64_t length) const {
  if (tensor.shard >= files_.size() || offset > tensor.bytes) return;
  files_[tensor.shard].DontNeed(tensor.offset + offset, std::min(length, tensor.bytes - offset));
}

Status MappedCheckpoint::Verify() const {
  for (const MappedFile& file : files_) RETURN_IF_ERROR(file.StillSame());
  return {};
}

/// Names of the index's files, each once, in order.
std::vector<std::string> ShardNames(const std::vector<IndexEntry>& index) {
  std::vector<std::string> names;
  for (const IndexEntry& entry : index)
    if (names.empty() || names.back() != entry.file) names.push_back(entry.file);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<std::unique_ptr<Checkpoint>> OpenSharded(const Path& dir) {
  const Path index_path = dir / kIndexFile;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index_path, kMaxIndexBytes));
  const auto index = ParseSafetensorsIndex(text);
  if (!index) return InFile(index_path, index);
  auto checkpoint = std::make_unique<MappedCheckpoint>(dir);
  for (const std::string& name : ShardNames(*index)) {
    auto status = checkpoint->AddFile(dir / name);
    if (!status && status.error().code == Code::kNotFound)
      return NotFound("{} is missing, and {} places tensors in it; copy or download it into the folder",
                      (dir / name).string(), kIndexFile);
    RETURN_IF_ERROR(status);
  }
  RETURN_IF_ERROR(checkpoint->Sort());
  RETURN_IF_ERROR(checkpoint->CheckAgainst(*index));
  return checkpoint;
}

/// Whether the folder has an entry of that name, be it a link that leads nowhere: opening it then says so.
bool Has(const Path& dir, const char* name) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::symlink_status(dir / name, ignored));
}

template <typename T>
Result<std::vector<T>> ReadAll(const Checkpoint& checkpoint, std::string_view name, DType dtype) {
  const TensorInfo* tensor = checkpoint.Find(name);
  if (!tensor) return NotFound("{}: no tensor '{}'", checkpoint.path().string(), Shown(name));
  if (tensor->dtype != dtype)
    return InvalidArgument("{}: tensor '{}' is {}, {} is needed", checkpoint.path().string(), Shown(name),
                           DTypeName(tensor->dtype), DTypeName(dtype));
  std::vector<std::byte> scratch;
  ASSIGN_OR_RETURN(const std::span<const std::byte> bytes,
                   checkpoint.Read(*tensor, 0, tensor->bytes, scratch));
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> Checkpoint::Open(const Path& dir) {
  std::error_code ignored;
  const auto type = std::filesystem::status(dir, ignored).type();
  if (type == std::filesystem::file_type::not_found)
    return NotFound("{}: no such folder; give the folder that holds config.json and the weights",
                    dir.string());
  if (type != std::filesystem::file_type::directory)
    return InvalidArgument("{} is not a folder; give the folder that holds config.json and the weights",
                           dir.string());
  if (Has(dir, kSingleFile)) return OpenFile(dir / kSingleFile);
  if (Has(dir, kIndexFile)) return OpenSharded(dir);
  return NotFound("{} holds no weights: neither {} nor {} is there, the formats that are read", dir.string(),
                  kSingleFile, kIndexFile);
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::OpenFile(const Path& file) {
  auto checkpoint = std::make_unique<MappedCheckpoint>(file);
  RETURN_IF_ERROR(checkpoint->AddFile(file));
  RETURN_IF_ERROR(checkpoint->Sort());
  return checkpoint;
}

uint64_t Checkpoint::TotalBytes() const {
  uint64_t total = 0;
  for (const TensorInfo& tensor : tensors()) total += tensor.bytes;
  return total;
}

Result<std::vector<float>> ReadF32(const Checkpoint& checkpoint, std::string_view name) {
  return ReadAll<float>(checkpoint, name, DType::kF32);
}

Result<std::vector<int64_t>> ReadI64(const Checkpoint& checkpoint, std::string_view name) {
  return ReadAll<int64_t>(checkpoint, name, DType::kI64);
}

}  // namespace hadal
