#include "text/token_map.h"

#include <functional>

#include "base/check.h"

namespace hadal {

bool TokenMap::Insert(std::string_view text, int32_t id) {
  HADAL_CHECK(id >= 0 && text.size() < kAbsent, "id {}, {} bytes", id, text.size());
  if (2 * (size_ + 1) > slots_.size()) Grow();
  const size_t slot = SlotOf(text);
  if (slots_[slot] >= 0 || Has(id)) return false;
  if (id >= end_id()) ranges_.resize(static_cast<size_t>(id) + 1);
  ranges_[id] = {text_.size(), static_cast<uint32_t>(text.size())};
  text_.append(text);
  slots_[slot] = id;
  ++size_;
  return true;
}

std::optional<int32_t> TokenMap::Find(std::string_view text) const {
  if (slots_.empty()) return std::nullopt;
  const int32_t id = slots_[SlotOf(text)];
  if (id < 0) return std::nullopt;
  return id;
}

// The slot that holds `text`, or the empty one where it belongs.
size_t TokenMap::SlotOf(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = std::hash<std::string_view>()(text) & mask;
  while (slots_[slot] >= 0 && At(slots_[slot]) != text) slot = (slot + 1) & mask;
  return slot;
}

void TokenMap::Grow() {
  const std::vector<int32_t> old = std::move(slots_);
  slots_.assign(old.empty() ? 64 : 2 * old.size(), -1);
  for (const int32_t id : old)
    if (id >= 0) slots_[SlotOf(At(id))] = id;
}

}  // namespace hadal
