// The one seam through which weights are read: a name gives dtype, shape and bytes. What lies behind it (plain or
// sealed files, one shard or many) is no business of the loader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace hadal {

struct TensorInfo {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;   // of the whole tensor
  uint32_t shard = 0;   // which file of the source
  uint64_t offset = 0;  // of the first byte in that file
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  /// Opens a model folder: model.safetensors, or model.safetensors.index.json and the shards it names.
  /// Everything is validated before this returns; no weight byte is read.
  static Result<std::unique_ptr<Checkpoint>> Open(const Path& dir);

  /// All tensors, sorted by name.
  virtual std::span<const TensorInfo> tensors() const = 0;
  /// nullptr if there is none of that name.
  virtual const TensorInfo* Find(std::string_view name) const = 0;

  /// Bytes [offset, offset + length) of `tensor`: a view of the mapped file where there is one, else read into
  /// `scratch`, whose size the call sets. Valid until the next call with the same scratch. Thread-safe.
  virtual Result<std::span<const std::byte>> Read(const TensorInfo& tensor, uint64_t offset, uint64_t length,
                                                  std::vector<std::byte>& scratch) const = 0;
  /// The bytes will not be read again soon: the page cache may drop them. Never an error.
  virtual void Release(const TensorInfo& tensor, uint64_t offset, uint64_t length) const = 0;
  /// kDataLoss if a file changed since Open. Called once after loading.
  virtual Status Verify() const = 0;

  uint64_t TotalBytes() const;
};

}  // namespace hadal
