// Strings by id and ids by string: the vocabulary's container.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hadal {

/// A one-to-one map between strings and ids, packed into three arrays. Ids are non-negative and may have
/// gaps. Threads: const functions are safe from any number.
class TokenMap {
 public:
  /// Adds a pair; false, and nothing changed, if the string or the id is there already. `id` is at least 0;
  /// the memory taken grows with the largest id, so ids from outside are to be bounded first.
  bool Insert(std::string_view text, int32_t id);

  std::optional<int32_t> Find(std::string_view text) const;

  bool Has(int32_t id) const { return id >= 0 && id < end_id() && ranges_[id].length != kAbsent; }

  /// The string of an id that is there. The view lives until the next Insert.
  std::string_view At(int32_t id) const {
    return std::string_view(text_).substr(ranges_[id].begin, ranges_[id].length);
  }

  /// One more than the largest id.
  int32_t end_id() const { return static_cast<int32_t>(ranges_.size()); }
  size_t size() const { return size_; }

 private:
  static constexpr uint32_t kAbsent = UINT32_MAX;
  struct Range {
    size_t begin = 0;
    uint32_t length = kAbsent;
  };

  size_t SlotOf(std::string_view text) const;
  void Grow();

  std::string text_;            // all strings, one after the other
  std::vector<Range> ranges_;   // [end_id] where the string of an id is in text_
  std::vector<int32_t> slots_;  // open addressing by the string's hash: an id, or -1; a power of two of them
  size_t size_ = 0;
};

}  // namespace hadal
