// Equality, order, containment and sorting.
#include <algorithm>
#include <numeric>

#include "text/jinja/operators.h"

#include <cstring>

namespace hadal::jinja {
namespace {

Result<bool> EqualDicts(Runtime& runtime, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.Find(key);
    if (!other) return false;
    ASSIGN_OR_RETURN(const bool same, Equal(runtime, value, *other));
    if (!same) return false;
  }
  return true;
}

Result<bool> EqualSequences(Runtime& runtime, const Sequence& a, const Sequence& b) {
  if (&a == &b) return true;
  if (a.kind != b.kind || a.kind == SequenceKind::kGenerator || a.items.size() != b.items.size())
    return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool same, Equal(runtime, a.items[i], b.items[i]));
    if (!same) return false;
  }
  return true;
}

Result<bool> LessNumbers(const Value& a, const Value& b) {
  const auto x = a.integer(), y = b.integer();
  return x && y ? *x < *y : *a.number() < *b.number();
}

}  // namespace

Result<bool> Equal(Runtime& runtime, const Value& a, const Value& b) {
  RETURN_IF_ERROR(runtime.Spend(1));
  if (a.is_number() && b.is_number()) {
    const auto x = a.integer(), y = b.integer();
    return x && y ? *x == *y : *a.number() == *b.number();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString:
      RETURN_IF_ERROR(runtime.SpendText(std::min(a.as_string().size(), b.as_string().size())));
      return a.as_string() == b.as_string();
    case Kind::kSequence: return EqualSequences(runtime, a.as_sequence(), b.as_sequence());
    case Kind::kDict: return EqualDicts(runtime, a.as_dict(), b.as_dict());
    case Kind::kObject: return a.as_object() == b.as_object();
    default: return true;  // undefined, None
  }
}

Result<bool> Less(Runtime& runtime, const Value& a, const Value& b) {
  RETURN_IF_ERROR(runtime.Spend(1));
  if (a.is_number() && b.is_number()) return LessNumbers(a, b);
  if (a.is_string() && b.is_string()) {  // bytes of UTF-8 are in the order of code points
    RETURN_IF_ERROR(runtime.SpendText(std::min(a.as_string().size(), b.as_string().size())));
    return a.as_string() < b.as_string();
  }
  const bool sequences = a.is(Kind::kSequence) && b.is(Kind::kSequence);
  if (sequences && a.as_sequence().kind == b.as_sequence().kind &&
      a.as_sequence().kind <= SequenceKind::kTuple) {
    const auto& x = a.as_sequence().items;
    const auto& y = b.as_sequence().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      ASSIGN_OR_RETURN(const bool same, Equal(runtime, x[i], y[i]));
      if (!same) return Less(runtime, x[i], y[i]);
    }
    return x.size() < y.size();
  }
  for (const Value* operand : {&a, &b})
    if (operand->is_undefined()) return InvalidArgument("{}", operand->why());
  return InvalidArgument("there is no order between {} and {}", a.type_name(), b.type_name());
}

Result<bool> Compare(Runtime& runtime, std::string_view op, const Value& a, const Value& b) {
  auto negated = [](Result<bool> result) { return result ? Result<bool>(!*result) : result; };
  if (op == "==") return Equal(runtime, a, b);
  if (op == "!=") return negated(Equal(runtime, a, b));
  if (op == "in") return Contains(runtime, a, b);
  if (op == "not in") return negated(Contains(runtime, a, b));
  if (op == "<") return Less(runtime, a, b);
  if (op == ">") return Less(runtime, b, a);
  // <= and >= as "less or equal" rather than "not greater": a NaN is neither.
  ASSIGN_OR_RETURN(const bool less, op == "<=" ? Less(runtime, a, b) : Less(runtime, b, a));
  return less ? Result<bool>(true) : Equal(runtime, a, b);
}

size_t FindText(std::string_view text, std::string_view wanted, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  // memmem takes the two-way algorithm; string_view::find is quadratic in the worst case.
  const void* found = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

Result<bool> Contains(Runtime& runtime, const Value& item, const Value& container) {
  switch (container.kind()) {
    case Kind::kString:
      if (!item.is_string())
        return InvalidArgument("'in' a str needs a str on its left, found {}{}", item.type_name(),
                               item.is_undefined() ? " (" + item.why() + ")" : "");
      RETURN_IF_ERROR(runtime.SpendText(container.as_string().size()));
      return FindText(container.as_string(), item.as_string()) != std::string_view::npos;
    case Kind::kDict:
      RETURN_IF_ERROR(runtime.Spend(1));
      if (item.is(Kind::kDict) ||
          (item.is(Kind::kSequence) && item.as_sequence().kind != SequenceKind::kTuple))
        return InvalidArgument("a {} cannot be a key of a dict", item.type_name());
      return container.as_dict().Find(item) != nullptr;
    case Kind::kUndefined: return false;
    case Kind::kSequence: break;
    default:
      return InvalidArgument("'in' needs a str, list or dict on its right, found {}", container.type_name());
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, container));
  for (const Value& candidate : items) {
    ASSIGN_OR_RETURN(const bool same, Equal(runtime, candidate, item));
    if (same) return true;
  }
  return false;
}

Status SortByKeys(Runtime& runtime, std::vector<Value>& keys, std::vector<Value>& items, bool reverse) {
  // A merge sort of our own: comparing may fail, which std::stable_sort has no way to say.
  std::vector<size_t> order(items.size()), merged(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t width = 1; width < order.size(); width *= 2) {
    for (size_t low = 0; low < order.size(); low += 2 * width) {
      const size_t middle = std::min(low + width, order.size()),
                   high = std::min(low + 2 * width, order.size());
      size_t left = low, right = middle;
      for (size_t out = low; out < high; ++out) {
        bool take_right = left == middle;
        if (left < middle && right < high) {
          const Value& a = keys[order[left]];
          const Value& b = keys[order[right]];
          ASSIGN_OR_RETURN(take_right, reverse ? Less(runtime, a, b) : Less(runtime, b, a));
        }
        merged[out] = order[take_right ? right++ : left++];
      }
    }
    order.swap(merged);
  }
  std::vector<Value> sorted_keys, sorted_items;
  for (size_t i : order) {
    sorted_keys.push_back(std::move(keys[i]));
    sorted_items.push_back(std::move(items[i]));
  }
  keys = std::move(sorted_keys);
  items = std::move(sorted_items);
  return {};
}

}  // namespace hadal::jinja
