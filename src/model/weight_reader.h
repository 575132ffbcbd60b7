// Reads rows of weights from a checkpoint: as the codes and scales that are stored, or as the floats they
// mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "model/checkpoint.h"
#include "model/weight_source.h"
#include "tensor/dtype.h"

namespace hadal {

/// Holds the memory that reading needs, a few rows' worth; one thread at a time, so each thread has its own.
/// Every value that passes is checked: NaN or infinity (in FP8 a NaN code) is kDataLoss, naming tensor and
/// row. A model that has one is damaged, and would answer with NaN or nonsense.
class WeightReader {
 public:
  explicit WeightReader(const Checkpoint& checkpoint) : checkpoint_(&checkpoint) {}

  /// Codes of rows [first, first + count) as they are stored, [count][in]. Code: float (F32), uint16_t (F16,
  /// BF16), uint8_t (FP8) or int8_t (INT8, INT4, unpacked), which must be the source's. Valid until the next
  /// call.
  template <typename Code>
  Result<const Code*> Codes(const LinearSource& source, int64_t first, int64_t count);

  /// Scales of rows [first, first + count), converted without loss: [scale rows][scale_cols()], the first
  /// scale row being first / block_rows. Valid until the next call.
  Result<const float*> Scales(const LinearSource& source, int64_t first, int64_t count);

  /// Rows [first, first + count) as floats: code * scale, one f32 product. out: [count][in].
  Status Decode(const LinearSource& source, int64_t first, int64_t count, float* out);

  /// Elements [first, first + count) of a tensor that FindPlain found, as floats / as they are stored.
  Status ReadFloats(const TensorInfo& tensor, int64_t first, int64_t count, float* out);
  Status CopyElements(const TensorInfo& tensor, int64_t first, int64_t count, std::byte* out);

  /// That a packed weight's own note of its shape is what its dimensions say.
  Status CheckPackedShape(const LinearSource& source);

  /// The rows, or elements, have been read for the last time.
  void Release(const LinearSource& source, int64_t first, int64_t count) const;
  void Release(const TensorInfo& tensor, int64_t first, int64_t count) const;

 private:
  /// Memory behind one result: what the checkpoint read, and a copy where that is not aligned.
  struct Scratch {
    std::vector<std::byte> raw, aligned;
  };
  /// Elements [first, first + count) of a tensor of that element size, aligned.
  template <typename T>
  Result<const T*> Elements(const TensorInfo& tensor, int64_t first, int64_t count, Scratch& scratch);
  /// The same, refusing NaN and infinity.
  template <typename T>
  Result<const T*> FiniteElements(const TensorInfo& tensor, int64_t first, int64_t count, Scratch& scratch);

  const Checkpoint* checkpoint_;
  Scratch values_, scales_, shape_;
  std::vector<int8_t> unpacked_;
  std::vector<float> scale_floats_;
};

}  // namespace hadal
