// Writes a model's tensors one after another, each made in parallel a chunk at a time: memory is a chunk and
// the scales of one tensor, whatever the size of the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "model/checkpoint.h"
#include "model/safetensors_writer.h"
#include "model/tensor_encoder.h"

namespace hadal {

/// Called with the bytes written so far and in all; false stops the work. From the calling thread, after each
/// chunk of some megabytes.
using WriteProgress = std::function<bool(uint64_t done, uint64_t total)>;

/// Writes rows [first, first + count) of a tensor into `out`, [count][cols]. Called from several threads at
/// once; `worker` tells them apart.
using RowSource = std::function<Status(int64_t first, int64_t count, int worker, float* out)>;

/// One thread at a time.
class TensorStream {
 public:
  /// Plans the shards in `dir` for tensors that are written in exactly this order. `progress` may be null.
  /// All three outlive the stream. Errors are ShardedWriter::Create's.
  static Result<TensorStream> Create(const Path& dir, std::vector<TensorDeclaration> tensors,
                                     ThreadPool& pool, const WriteProgress& progress);

  /// Writes all parts of an encoded tensor, in the order of its Declarations. kCancelled if the listener says
  /// so; errors of `rows`, the lowest row's first, and of the writer.
  Status Encode(const TensorEncoder& encoder, const RowSource& rows);

  /// Copies a tensor byte by byte.
  Status Copy(const Checkpoint& checkpoint, const TensorInfo& tensor);

  Status Finish() { return writer_.Finish(); }

 private:
  TensorStream(ShardedWriter writer, ThreadPool& pool, const WriteProgress& progress, uint64_t total)
      : writer_(std::move(writer)),
        pool_(&pool),
        progress_(&progress),
        total_(total),
        floats_(static_cast<size_t>(pool.threads())) {}
  Status Write(std::string_view name, std::span<const std::byte> bytes);
  Status EncodeChunk(const TensorEncoder& encoder, const RowSource& rows, int64_t first, int64_t count,
                     std::byte* scales);

  ShardedWriter writer_;
  ThreadPool* pool_;
  const WriteProgress* progress_;
  uint64_t total_, done_ = 0;
  std::vector<std::vector<float>> floats_;   // a block of rows for each worker
  std::vector<std::byte> values_, scratch_;  // a chunk
};

}  // namespace hadal
