// Reads a training checkpoint's numbers by where they belong in the whole tensor, whatever mesh wrote them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "train/checkpoint/manifest.h"

namespace hadal::train {

/// What a number is.
enum class StateKind : char { kValue = 'w', kFirstMoment = 'm', kSecondMoment = 'v', kBias = 'b' };

/// Some elements of one tensor, stored one after another: [first, first + count) of the box of rows
/// [row, row + rows) and columns [col, col + cols), row-major.
struct StatePiece {
  StateKind kind;
  std::string name;  // of the tensor in a model folder
  int64_t row = 0, rows = 0, col = 0, cols = 0, first = 0, count = 0;

  /// As tensors of a checkpoint file are named.
  std::string Key() const;
  /// kDataLoss: no such name, or numbers that do not fit together.
  static Result<StatePiece> Parse(std::string_view key);
};

class CheckpointReader {
 public:
  /// Reads manifest and headers, and checks the files' sizes and that no two pieces hold the same element, so that
  /// numbers of elements tell holes; with `verify` checksums too. kNotFound, kDataLoss.
  static Result<CheckpointReader> Open(const Path& step_dir, bool verify);
  /// The same as one of `ranks` that share the reading for checksums: this one sums the files of its number.
  static Result<CheckpointReader> OpenShared(const Path& step_dir, int rank, int ranks);

  const Manifest& manifest() const { return manifest_; }

  /// Puts the stored elements of tensor `name` that lie in the box of `rows` rows from `row` and `cols` columns from
  /// `col` into out (row-major, `cols` wide), and returns how many there were. T is the manifest's dtype.
  template <typename T>
  Result<int64_t> ReadBox(StateKind kind, const std::string& name, int64_t row, int64_t rows, int64_t col, int64_t cols,
                          T* out) const;
  /// Whole rows [first, first + count) of a tensor of `cols` columns as floats, whichever dtype there is. kDataLoss: an
  /// element is missing.
  Status ReadRows(StateKind kind, const std::string& name, int64_t cols, int64_t first, int64_t count, float* out) const;

 private:
  struct Stored {
    size_t file;
    const TensorInfo* info;
    StatePiece piece;
  };
  CheckpointReader() = default;
  template <typename Sums>
  static Result<CheckpointReader> OpenFiles(const Path& step_dir, Sums sums);
  Status Index(size_t file);
  Status CheckOverlaps() const;

  Manifest manifest_;
  std::vector<std::unique_ptr<Checkpoint>> files_;
  std::map<std::pair<char, std::string>, std::vector<Stored>> stored_;
};

}  // namespace hadal::train
