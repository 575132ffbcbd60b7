#include "model/weight_packer.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace hadal {
namespace {

/// A page that is touched brings in those around it (64 KiB by default, or the whole large folio it is cached
/// in, up to 2 MiB), so that reading a row also maps rows before it that have been released: they are
/// released again. Left mapped, they would make the process look as large as model and files together.
constexpr int64_t kMappedAround = 2 << 20;

/// Whether the target holds the source's codes. INT4 may become INT8, whose codes include it, if scales stay.
bool KeepsCodes(const PackJob& job) {
  const LinearWeight& w = *job.target;
  if (job.source.packed()) {
    const bool holds = w.format == WeightFormat::kInt8 || w.format == job.source.format;
    const bool exact = !w.scales_bf16 || job.source.scales->dtype == DType::kBF16;
    return holds && exact && w.group == job.source.block_cols;
  }
  return w.format == job.source.format;
}

int64_t RowsOf(const LinearWeight& w, int64_t panel) { return std::min(kPanel, w.out - panel * kPanel); }

}  // namespace

Status WeightPacker::Pack(const PackJob& job, int64_t first, int64_t count, std::byte* values,
                          std::byte* scales) {
  const LinearWeight& w = *job.target;
  HADAL_CHECK(first >= 0 && first + count <= w.panel_count(), "panels {}+{} of {}", first, count,
              w.panel_count());
  if (job.source.packed() && first == 0) RETURN_IF_ERROR(reader_.CheckPackedShape(job.source));
  if (job.transposed) {
    HADAL_CHECK(first == 0 && count == w.panel_count(), "a transposed weight is packed whole");
    return PackTransposed(job, values);
  }
  const bool keeps = KeepsCodes(job);
  if (!keeps) floats_.resize(static_cast<size_t>(kPanel * w.in));
  for (int64_t panel = first; panel < first + count; ++panel) {
    const int64_t row = job.first_row + panel * kPanel, rows = RowsOf(w, panel);
    if (keeps) {
      RETURN_IF_ERROR(PackStored(job, panel, values, scales));
    } else {
      RETURN_IF_ERROR(reader_.Decode(job.source, row, rows, floats_.data()));
      PackFloats(w, panel, floats_.data(), rows, values);
    }
  }
  const int64_t begin = job.first_row + first * kPanel;
  ReleaseRows(job.source, begin, std::min(count * kPanel, w.out - first * kPanel));
  return {};
}

void WeightPacker::ReleaseRows(const LinearSource& source, int64_t first, int64_t count) {
  const int64_t again = std::min(first, kMappedAround / source.row_bytes() + 1);
  reader_.Release(source, first - again, count + again);
}

template <typename Code>
Status WeightPacker::PackCodes(const PackJob& job, int64_t panel, std::byte* values) {
  const LinearWeight& w = *job.target;
  const int64_t rows = RowsOf(w, panel);
  ASSIGN_OR_RETURN(const Code* codes, reader_.Codes<Code>(job.source, job.first_row + panel * kPanel, rows));
  PackPanel(w, panel, codes, w.in, rows, values);
  return {};
}

Status WeightPacker::PackStored(const PackJob& job, int64_t panel, std::byte* values, std::byte* scales) {
  const LinearWeight& w = *job.target;
  switch (job.source.format) {
    case WeightFormat::kF32:
      return PackCodes<float>(job, panel, values);
    case WeightFormat::kF16:
    case WeightFormat::kBF16:
      return PackCodes<uint16_t>(job, panel, values);
    default:
      break;
  }
  const int64_t row = job.first_row + panel * kPanel, rows = RowsOf(w, panel), count = w.scale_count();
  ASSIGN_OR_RETURN(const float* stored, reader_.Scales(job.source, row, rows));
  if (job.source.format == WeightFormat::kFp8) {
    // ChooseFormat saw to it that 16 outputs lie in one block of rows.
    HADAL_CHECK(row / job.source.block_rows == (row + rows - 1) / job.source.block_rows, "row {}", row);
    std::memcpy(scales + panel * count * 4, stored, static_cast<size_t>(count) * 4);
    return PackCodes<uint8_t>(job, panel, values);
  }
  for (int64_t lane = 0; lane < rows; ++lane)
    for (int64_t group = 0; group < count; ++group)
      PackScale(w, panel * kPanel + lane, group, stored[lane * count + group], values);
  return PackCodes<int8_t>(job, panel, values);
}

Status WeightPacker::PackTransposed(const PackJob& job, std::byte* values) {
  const LinearWeight& w = *job.target;
  HADAL_CHECK_EQ(w.out, job.source.in);
  floats_.resize(static_cast<size_t>(w.in * w.out));
  columns_.resize(static_cast<size_t>(kPanel * w.in));
  RETURN_IF_ERROR(reader_.Decode(job.source, job.first_row, w.in, floats_.data()));
  for (int64_t panel = 0; panel < w.panel_count(); ++panel) {
    const int64_t rows = RowsOf(w, panel);
    for (int64_t lane = 0; lane < rows; ++lane)
      for (int64_t k = 0; k < w.in; ++k)
        columns_[static_cast<size_t>(lane * w.in + k)] =
            floats_[static_cast<size_t>(k * w.out + panel * kPanel + lane)];
    PackFloats(w, panel, columns_.data(), rows, values);
  }
  ReleaseRows(job.source, job.first_row, w.in);
  return {};
}

void WeightPacker::PackFloats(const LinearWeight& w, int64_t panel, const float* rows, int64_t row_count,
                              std::byte* values) {
  switch (w.format) {
    case WeightFormat::kF32:
      PackPanel(w, panel, rows, w.in, row_count, values);
      return;
    case WeightFormat::kF16:
    case WeightFormat::kBF16: {
      const auto count = static_cast<size_t>(row_count * w.in);
      halves_.resize(count);
      const bool half = w.format == WeightFormat::kF16;
      for (size_t i = 0; i < count; ++i) halves_[i] = half ? ToF16(rows[i]).bits : ToBF16(rows[i]).bits;
      PackPanel<uint16_t>(w, panel, halves_.data(), w.in, row_count, values);
      return;
    }
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      Quantize(w, panel, rows, row_count, values);
      return;
    case WeightFormat::kFp8:
      HADAL_CHECK(false, "nothing is quantised to FP8 at load");
  }
}

void WeightPacker::Quantize(const LinearWeight& w, int64_t panel, const float* rows, int64_t row_count,
                            std::byte* values) {
  const int bits = w.format == WeightFormat::kInt8 ? 8 : 4;
  codes_.resize(static_cast<size_t>(row_count * w.in));
  for (int64_t lane = 0; lane < row_count; ++lane) {
    for (int64_t group = 0; group < w.scale_count(); ++group) {
      const int64_t begin = group * w.group, count = std::min<int64_t>(w.group, w.in - begin);
      const float scale =
          QuantizeGroup(rows + lane * w.in + begin, count, bits, codes_.data() + lane * w.in + begin);
      PackScale(w, panel * kPanel + lane, group, scale, values);
    }
  }
  PackPanel<int8_t>(w, panel, codes_.data(), w.in, row_count, values);
}

}  // namespace hadal
