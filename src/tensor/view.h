// View<T>: a window on numbers somebody else owns.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/check.h"

namespace hadal {

/// Rows of `cols` contiguous elements, `stride` elements from one row's start to the next. A [T, H, D] tensor whose
/// heads lie one after another is a view of T rows of H * D.
template <typename T>
struct View {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  View() = default;
  View(T* data, int64_t rows, int64_t cols) : View(data, rows, cols, cols) {}
  View(T* data, int64_t rows, int64_t cols, int64_t stride) : data(data), rows(rows), cols(cols), stride(stride) {}
  /// A view of T is a view of const T.
  template <typename U>
    requires(std::is_same_v<const U, T> && !std::is_const_v<U>)
  View(const View<U>& other) : View(other.data, other.rows, other.cols, other.stride) {}

  T* row(int64_t i) const { return data + i * stride; }
  T& at(int64_t i, int64_t j) const { return data[i * stride + j]; }

  /// Rows [first, first + count).
  View Rows(int64_t first, int64_t count) const {
    HADAL_CHECK(first >= 0 && count >= 0 && first + count <= rows, "rows {}+{} of {}", first, count, rows);
    return View(data + first * stride, count, cols, stride);
  }
  /// Columns [first, first + count) of every row.
  View Cols(int64_t first, int64_t count) const {
    HADAL_CHECK(first >= 0 && count >= 0 && first + count <= cols, "columns {}+{} of {}", first, count, cols);
    return View(data + first, rows, count, stride);
  }
};

}  // namespace hadal
