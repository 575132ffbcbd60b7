#include "model/tensor_stream.h"

#include <algorithm>

#include "base/rounding.h"

namespace hadal {
namespace {

/// Floats a worker makes at a time: they stay in the second-level cache until they are encoded.
constexpr int64_t kBlockValues = 1 << 16;
/// Bytes made and then written at a time.
constexpr int64_t kChunkBytes = 16 << 20;

/// Rows that one worker takes at a time.
int64_t BlockRows(const TensorEncoder& encoder) {
  return RoundUp(std::max<int64_t>(1, kBlockValues / std::max<int64_t>(1, encoder.cols())),
                 encoder.row_unit());
}

}  // namespace

Result<TensorStream> TensorStream::Create(const Path& dir, std::vector<TensorDeclaration> tensors,
                                          ThreadPool& pool, const WriteProgress& progress) {
  uint64_t total = 0;
  for (const TensorDeclaration& tensor : tensors) {
    ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor.dtype, tensor.shape));
    total += bytes;
  }
  ASSIGN_OR_RETURN(ShardedWriter writer, ShardedWriter::Create(dir, std::move(tensors)));
  return TensorStream(std::move(writer), pool, progress, total);
}

Status TensorStream::Write(std::string_view name, std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(writer_.Write(name, bytes));
  done_ += bytes.size();
  if (*progress_ && !(*progress_)(done_, total_))
    return Cancelled("stopped after {} of {} bytes", done_, total_);
  return {};
}

Status TensorStream::EncodeChunk(const TensorEncoder& encoder, const RowSource& rows, int64_t first,
                                 int64_t count, std::byte* scales) {
  const int64_t step = BlockRows(encoder), blocks = (count + step - 1) / step;
  std::vector<Status> results(static_cast<size_t>(blocks));
  pool_->For(blocks, [&](int64_t block, int worker) {
    const int64_t row = block * step, height = std::min(step, count - row);
    std::vector<float>& floats = floats_[static_cast<size_t>(worker)];
    floats.resize(std::max(floats.size(), static_cast<size_t>(height * encoder.cols())));
    Status& result = results[static_cast<size_t>(block)];
    result = rows(first + row, height, worker, floats.data());
    if (result)
      encoder.Encode(floats.data(), height, values_.data() + encoder.ValueBytes(row),
                     scales + encoder.ScaleBytes(row));
  });
  for (Status& result : results) RETURN_IF_ERROR(std::move(result));
  return {};
}

Status TensorStream::Encode(const TensorEncoder& encoder, const RowSource& rows) {
  const std::vector<TensorDeclaration> parts = encoder.Declarations();
  const int64_t row_bytes = std::max<int64_t>(1, encoder.ValueBytes(1));
  const int64_t step = RoundUp(std::max<int64_t>(1, kChunkBytes / row_bytes), BlockRows(encoder));
  std::vector<std::byte> scales(static_cast<size_t>(encoder.ScaleBytes(encoder.rows())));
  for (int64_t first = 0; first < encoder.rows(); first += step) {
    const int64_t count = std::min(step, encoder.rows() - first);
    const auto bytes = static_cast<size_t>(encoder.ValueBytes(count));
    values_.resize(std::max(values_.size(), bytes));
    RETURN_IF_ERROR(EncodeChunk(encoder, rows, first, count, scales.data() + encoder.ScaleBytes(first)));
    RETURN_IF_ERROR(Write(parts[0].name, std::span(values_).first(bytes)));
  }
  if (parts.size() > 1) RETURN_IF_ERROR(Write(parts[1].name, scales));
  if (parts.size() > 2) RETURN_IF_ERROR(Write(parts[2].name, encoder.ShapeBytes()));
  return {};
}

Status TensorStream::Copy(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  for (uint64_t offset = 0; offset < tensor.bytes; offset += kChunkBytes) {
    const uint64_t length = std::min<uint64_t>(kChunkBytes, tensor.bytes - offset);
    ASSIGN_OR_RETURN(const std::span<const std::byte> bytes,
                     checkpoint.Read(tensor, offset, length, scratch_));
    RETURN_IF_ERROR(Write(tensor.name, bytes));
    checkpoint.Release(tensor, offset, length);
  }
  return {};
}

}  // namespace hadal
