#include "train/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/checksum.h"

namespace hadal::train {
namespace {

Status VerifyFile(const Path& path, const CheckpointFile& expected, bool checksum) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() != expected.bytes)
    return DataLoss("{} has {} bytes, its manifest says {}", path.string(), bytes.size(), expected.bytes);
  if (!checksum) return {};
  Checksum sum;
  sum.Add(bytes);
  if (sum.value() != expected.checksum)
    return DataLoss("{} is damaged: its checksum is {:016x}, its manifest says {:016x}", path.string(), sum.value(),
                    expected.checksum);
  return {};
}

template <typename T>
constexpr DType kDType = sizeof(T) == 8 ? DType::kF64 : DType::kF32;

/// Rows [row, row_end) and columns [col, col_end) of a whole tensor.
struct Rectangle {
  int64_t row, row_end, col, col_end;
};

/// A piece's elements: the rest of a row, whole rows, the beginning of a row.
void AddRectangles(const StatePiece& p, std::vector<Rectangle>& all) {
  for (int64_t at = p.first, end = p.first + p.count; at < end;) {
    const int64_t row = at / p.cols, col = at % p.cols;
    const bool whole = col == 0 && end - at >= p.cols;
    const int64_t rows = whole ? (end - at) / p.cols : 1, cols = std::min(p.cols - col, end - at);
    all.push_back({p.row + row, p.row + row + rows, p.col + col, p.col + col + cols});
    at += rows * cols;
  }
}

/// Whether two share an element.
bool AnyOverlap(std::vector<Rectangle>& all) {
  std::ranges::sort(all, {}, &Rectangle::row);
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t k = i + 1; k < all.size() && all[k].row < all[i].row_end; ++k)
      if (all[k].col < all[i].col_end && all[i].col < all[k].col_end) return true;
  return false;
}

}  // namespace

std::string StatePiece::Key() const {
  return fmt::format("{}|{}|{}+{}|{}+{}|{}+{}", static_cast<char>(kind), name, row, rows, col, cols, first, count);
}

Result<StatePiece> StatePiece::Parse(std::string_view key) {
  const auto bad = [&] { return DataLoss("'{}' is no name of a piece of state", Shown(key)); };
  std::vector<std::string_view> parts;
  for (size_t from = 0; from <= key.size();) {
    const size_t end = std::min(key.find('|', from), key.size());
    parts.push_back(key.substr(from, end - from));
    from = end + 1;
  }
  if (parts.size() != 5 || parts[0].size() != 1 || !std::strchr("wmvb", parts[0][0]) || parts[1].empty()) return bad();
  StatePiece p{.kind = static_cast<StateKind>(parts[0][0]), .name = std::string(parts[1])};
  int64_t* numbers[] = {&p.row, &p.rows, &p.col, &p.cols, &p.first, &p.count};
  for (int i = 0; i < 3; ++i) {
    const std::string_view part = parts[2 + i];
    const size_t plus = part.find('+');
    if (plus == std::string_view::npos) return bad();
    const auto parse = [](std::string_view text, int64_t& value) {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      return error == std::errc() && end == text.data() + text.size() && value >= 0 && value < int64_t{1} << 40;
    };
    if (!parse(part.substr(0, plus), *numbers[2 * i]) || !parse(part.substr(plus + 1), *numbers[2 * i + 1])) return bad();
  }
  if (p.cols < 1 || p.rows > (int64_t{1} << 60) / p.cols || p.first > p.rows * p.cols - p.count) return bad();
  return p;
}

Result<CheckpointReader> CheckpointReader::Open(const Path& step_dir, bool verify) {
  return OpenFiles(step_dir, [&](size_t) { return verify; });
}

Result<CheckpointReader> CheckpointReader::OpenShared(const Path& step_dir, int rank, int ranks) {
  return OpenFiles(step_dir, [&](size_t i) { return i % static_cast<size_t>(ranks) == static_cast<size_t>(rank); });
}

/// `sums(i)`: whether file i is read whole for its checksum.
template <typename Sums>
Result<CheckpointReader> CheckpointReader::OpenFiles(const Path& step_dir, Sums sums) {
  CheckpointReader reader;
  ASSIGN_OR_RETURN(reader.manifest_, LoadManifest(step_dir));
  for (size_t i = 0; i < reader.manifest_.files.size(); ++i) {
    const CheckpointFile& file = reader.manifest_.files[i];
    RETURN_IF_ERROR(VerifyFile(step_dir / file.name, file, sums(i)));
    ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> opened, Checkpoint::OpenFile(step_dir / file.name));
    reader.files_.push_back(std::move(opened));
    RETURN_IF_ERROR(reader.Index(i));
  }
  RETURN_IF_ERROR(reader.CheckOverlaps());
  return reader;
}

Status CheckpointReader::CheckOverlaps() const {
  std::vector<Rectangle> rectangles;
  for (const auto& [tensor, pieces] : stored_) {
    rectangles.clear();
    for (const Stored& s : pieces) AddRectangles(s.piece, rectangles);
    if (AnyOverlap(rectangles))
      return DataLoss("{}: two pieces of {} ('{}') hold the same element", files_[pieces[0].file]->path().string(),
                      tensor.second, tensor.first);
  }
  return {};
}

Status CheckpointReader::Index(size_t file) {
  for (const TensorInfo& info : files_[file]->tensors()) {
    ASSIGN_OR_RETURN(StatePiece piece, StatePiece::Parse(info.name));
    if (DTypeName(info.dtype) != manifest_.dtype || info.shape != std::vector<int64_t>{piece.count})
      return DataLoss("{}: {} is {} {}, expected {} [{}]", files_[file]->path().string(), Shown(info.name),
                      DTypeName(info.dtype), ShapeText(info.shape), manifest_.dtype, piece.count);
    stored_[{static_cast<char>(piece.kind), piece.name}].push_back({file, &info, std::move(piece)});
  }
  return {};
}

template <typename T>
Result<int64_t> CheckpointReader::ReadBox(StateKind kind, const std::string& name, int64_t row, int64_t rows,
                                          int64_t col, int64_t cols, T* out) const {
  if (DTypeName(kDType<T>) != manifest_.dtype)
    return InvalidArgument("the checkpoint holds {}, and training computes in {}; give the precision it was made with",
                           manifest_.dtype, DTypeName(kDType<T>));
  const auto found = stored_.find({static_cast<char>(kind), name});
  if (found == stored_.end()) return 0;
  int64_t filled = 0;
  std::vector<std::byte> scratch;
  for (const Stored& s : found->second) {
    const StatePiece& p = s.piece;
    // Row by row of the stored box: the stretch of it that this piece has, cut to the wanted columns.
    for (int64_t r = std::max(p.first / p.cols, row - p.row); r < p.rows && r * p.cols < p.first + p.count; ++r) {
      if (p.row + r >= row + rows) break;
      const int64_t begin = std::max({p.first - r * p.cols, int64_t{0}, col - p.col});
      const int64_t end = std::min({p.first + p.count - r * p.cols, p.cols, col + cols - p.col});
      if (begin >= end) continue;
      const uint64_t offset = static_cast<uint64_t>(r * p.cols + begin - p.first) * sizeof(T);
      const uint64_t length = static_cast<uint64_t>(end - begin) * sizeof(T);
      ASSIGN_OR_RETURN(const auto bytes, files_[s.file]->Read(*s.info, offset, length, scratch));
      std::memcpy(out + (p.row + r - row) * cols + (p.col + begin - col), bytes.data(), length);
      filled += end - begin;
    }
  }
  return filled;
}

Status CheckpointReader::ReadRows(StateKind kind, const std::string& name, int64_t cols, int64_t first, int64_t count,
                                  float* out) const {
  int64_t filled = 0;
  if (manifest_.dtype == DTypeName(DType::kF64)) {
    std::vector<double> wide(static_cast<size_t>(count * cols));
    ASSIGN_OR_RETURN(filled, ReadBox<double>(kind, name, first, count, 0, cols, wide.data()));
    std::transform(wide.begin(), wide.end(), out, [](double x) { return static_cast<float>(x); });
  } else {
    ASSIGN_OR_RETURN(filled, ReadBox<float>(kind, name, first, count, 0, cols, out));
  }
  if (filled == count * cols) return {};
  return DataLoss("the checkpoint has {} of {} elements in rows {} to {} of {}", filled, count * cols, first,
                  first + count, name);
}

template Result<int64_t> CheckpointReader::ReadBox<float>(StateKind, const std::string&, int64_t, int64_t, int64_t,
                                                          int64_t, float*) const;
template Result<int64_t> CheckpointReader::ReadBox<double>(StateKind, const std::string&, int64_t, int64_t, int64_t,
                                                           int64_t, double*) const;

}  // namespace hadal::train
