// What a checkpoint says of one tensor, and the arithmetic of its size.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"

namespace hadal {

struct TensorInfo {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;   // of the whole tensor
  uint32_t shard = 0;   // which file of the source
  uint64_t offset = 0;  // of the first byte in that file; a multiple of no particular number
};

/// Bytes of a dense row-major tensor; an empty shape is a scalar, a dimension of 0 makes it empty.
///
/// kDataLoss if a dimension is negative, if the product overflows 64 bits (dimensions of 0 left out, so that
/// no order of multiplying can overflow later), or if sub-byte elements do not fill whole bytes.
Result<uint64_t> TensorBytes(DType type, std::span<const int64_t> shape);

/// "[2, 3]"; "[]" for a scalar.
std::string ShapeText(std::span<const int64_t> shape);

/// A name from a file, fit for an error message or a log line: control characters and quotes escaped, cut
/// when long.
std::string Shown(std::string_view name);

}  // namespace hadal
