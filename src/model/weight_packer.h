// Packs one Linear from the checkpoint into the kernels' layout, a few panels at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "kernels/linear_weight.h"
#include "model/weight_reader.h"
#include "model/weight_source.h"

namespace hadal {

/// A Linear to be made: target row i is source row first_row + i; or, transposed, target column k is source
/// row first_row + k, and target row i is source column i.
struct PackJob {
  LinearSource source;
  LinearWeight* target = nullptr;  // its shape, formats and pointers are set before packing
  int64_t first_row = 0;
  bool transposed = false;
};

/// Reads and packs; holds the memory for it, 16 rows' worth (a transposed Linear: all of it, one head's
/// part). One thread at a time.
class WeightPacker {
 public:
  explicit WeightPacker(const Checkpoint& checkpoint) : reader_(checkpoint) {}

  WeightReader& reader() { return reader_; }

  /// Packs panels [first, first + count) with their scales and releases what was read. `values` and `scales`
  /// (FP8) are the target's, which is zero so far. A transposed job is packed whole. Codes are kept where target
  /// and source hold the same ones (also INT4 as INT8); else the decoded values are rounded or quantised.
  /// Errors are WeightReader's.
  Status Pack(const PackJob& job, int64_t first, int64_t count, std::byte* values, std::byte* scales);

 private:
  Status PackStored(const PackJob& job, int64_t panel, std::byte* values, std::byte* scales);
  template <typename Code>
  Status PackCodes(const PackJob& job, int64_t panel, std::byte* values);
  void ReleaseRows(const LinearSource& source, int64_t first, int64_t count);
  Status PackTransposed(const PackJob& job, std::byte* values);
  /// Packs one panel from floats. rows: [row_count][target.in].
  void PackFloats(const LinearWeight& w, int64_t panel, const float* rows, int64_t row_count,
                  std::byte* values);
  void Quantize(const LinearWeight& w, int64_t panel, const float* rows, int64_t row_count, std::byte* values);

  WeightReader reader_;
  std::vector<float> floats_, columns_;
  std::vector<uint16_t> halves_;
  std::vector<int8_t> codes_;
};

}  // namespace hadal
