// The one seam through which weights are read: a name gives dtype, shape and bytes. What lies behind it
// (plain or sealed files, one shard or many) is no business of the loader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "model/tensor_info.h"
#include "tensor/dtype.h"

namespace hadal {

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  /// Opens a model folder: model.safetensors, or model.safetensors.index.json and the shards it names; the
  /// single file where both are there, as the reference library does. Other files of the folder are ignored.
  /// Everything is validated before this returns; no weight byte is read.
  ///
  /// kNotFound: no folder, no weights, a shard missing. kDataLoss: a file is not what its format says, or
  /// index and shards disagree. kUnsupported, kResourceExhausted: beyond what hadal reads. Each names the
  /// file.
  static Result<std::unique_ptr<Checkpoint>> Open(const Path& dir);

  /// Opens one .safetensors file by itself, with the same checks.
  static Result<std::unique_ptr<Checkpoint>> OpenFile(const Path& file);

  /// All tensors, sorted by name.
  virtual std::span<const TensorInfo> tensors() const = 0;
  /// nullptr if there is none of that name.
  virtual const TensorInfo* Find(std::string_view name) const = 0;
  /// The files' own notes (`__metadata__`); where two shards have the same key, the first shard's.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  /// What was opened, for messages.
  virtual const Path& path() const = 0;

  /// Bytes [offset, offset + length) of `tensor`: a view of the mapped file where there is one, else read
  /// into `scratch`, whose size the call sets. Valid until the next call with the same scratch. Thread-safe.
  /// The bytes may start at any address: they are not aligned to their dtype.
  ///
  /// kInvalidArgument if the range is not inside the tensor; kDataLoss if the file is known to have changed.
  virtual Result<std::span<const std::byte>> Read(const TensorInfo& tensor, uint64_t offset, uint64_t length,
                                                  std::vector<std::byte>& scratch) const = 0;
  /// The bytes will not be read again soon: the page cache may drop them. Never an error.
  virtual void Release(const TensorInfo& tensor, uint64_t offset, uint64_t length) const = 0;
  /// kDataLoss if a file changed since Open. Called once after loading.
  virtual Status Verify() const = 0;

  uint64_t TotalBytes() const;
};

/// A copy of the whole tensor `name`, which must be of that dtype exactly: row-major, of any shape.
/// kNotFound if there is none of that name, kInvalidArgument if it is of another dtype.
Result<std::vector<float>> ReadF32(const Checkpoint& checkpoint, std::string_view name);
Result<std::vector<int64_t>> ReadI64(const Checkpoint& checkpoint, std::string_view name);

}  // namespace hadal
