// Writes safetensors files in stream: memory is one caller's buffer, whatever the size of the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace hadal {

/// A tensor that is going to be written.
struct TensorDeclaration {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
};

/// The length and the header of a file of `tensors`, laid out in this order, padded with spaces to a multiple
/// of 64.
///
/// The format lets a tensor begin at any byte. Some readers want multiples of its element's size; the order
/// that the caller chooses gives them, or does not.
///
/// kInvalidArgument: a name twice, not UTF-8 or "__metadata__"; a shape that has no size. kResourceExhausted:
/// beyond the limits of the format.
Result<std::string> MakeSafetensorsHeader(std::span<const TensorDeclaration> tensors,
                                          const std::map<std::string, std::string>& metadata);

/// One file. Its name appears only in Finish, when every byte is on the disk; without it nothing stays
/// behind. Movable; one thread at a time.
class SafetensorsWriter {
 public:
  /// Errors of MakeSafetensorsHeader; kResourceExhausted if the disk has too little room for the whole file.
  static Result<SafetensorsWriter> Create(const Path& path, std::vector<TensorDeclaration> tensors,
                                          const std::map<std::string, std::string>& metadata = {});

  /// Appends bytes to tensor `name`, in as many pieces as the caller likes; tensors come in the declared
  /// order. kInvalidArgument if it is not this tensor's turn, or if they are more bytes than it has. After an
  /// error of the disk the file cannot be finished.
  Status Write(std::string_view name, std::span<const std::byte> bytes);

  /// Gives the file its name. kFailedPrecondition if bytes are missing, naming the tensor.
  Status Finish();

 private:
  struct Pending {
    std::string name;
    uint64_t bytes = 0;    // of the whole tensor
    uint64_t written = 0;  // of them
  };
  SafetensorsWriter(Path path, AtomicFile file) : path_(std::move(path)), file_(std::move(file)) {}

  Path path_;
  AtomicFile file_;
  std::vector<Pending> tensors_;
  size_t current_ = 0;   // index of the tensor whose turn it is
  bool broken_ = false;  // a write failed, so that the bytes in the file are unknown; or it is finished
};

struct ShardOptions {
  /// Of tensor data in one shard; a larger tensor has a shard for itself.
  uint64_t max_shard_bytes = 5'000'000'000;
  /// Of every shard. "format": "pt" is added, without which the reference library refuses a model.
  std::map<std::string, std::string> metadata;
};

/// A model's weights in a folder: model.safetensors if one shard is enough, else
/// model-00001-of-0000N.safetensors and so on, and model.safetensors.index.json last: a folder without it
/// is not a model. Unless Finish succeeds, the shards written so far are removed. Movable; one thread at a
/// time.
class ShardedWriter {
 public:
  /// Plans the shards: as many tensors, in the given order, as fit in each. Makes `dir` if only it is
  /// missing.
  ///
  /// kFailedPrecondition if the folder already holds weights: nothing is overwritten. kResourceExhausted if
  /// the disk has too little room for all of it. Else the errors of MakeSafetensorsHeader.
  static Result<ShardedWriter> Create(const Path& dir, std::vector<TensorDeclaration> tensors,
                                      ShardOptions options = {});
  ShardedWriter(ShardedWriter&&) = default;
  ~ShardedWriter();

  /// As SafetensorsWriter::Write, in the declared order over all shards.
  Status Write(std::string_view name, std::span<const std::byte> bytes);
  Status Finish();

  size_t shard_count() const { return shards_.size(); }

 private:
  ShardedWriter() = default;
  Status OpenShard(size_t shard);
  std::string ShardName(size_t shard) const;
  /// The index's text: {"metadata": {"total_size"}, "weight_map"}.
  std::string IndexText() const;

  Path dir_;
  ShardOptions options_;
  std::vector<std::vector<TensorDeclaration>> shards_;
  std::unordered_map<std::string, size_t> shard_of_;  // by tensor name
  uint64_t total_bytes_ = 0;                          // of tensor data
  size_t current_ = 0;
  std::optional<SafetensorsWriter> writer_;  // of shard current_; none after an error or Finish
  std::vector<Path> unfinished_;             // shards to remove unless Finish succeeds
};

}  // namespace hadal
