// Rows of a table by id; of a table split over ranks by vocabulary, one shard.
#pragma once

#include <span>

#include "train/ops/context.h"

namespace hadal::train {

/// out[t] = table[ids[t] - first], zero where the id is not in [first, first + table.rows). table: [V, D];
/// out: [T, D].
template <typename T>
void EmbeddingForward(const OpContext& ctx, View<const T> table, int64_t first, std::span<const int32_t> ids,
                      View<T> out);
/// dtable[ids[t] - first] += dout[t], t ascending; ids outside are skipped.
template <typename T>
void EmbeddingBackward(const OpContext& ctx, View<const T> dout, int64_t first, std::span<const int32_t> ids,
                       View<T> dtable);

}  // namespace hadal::train
