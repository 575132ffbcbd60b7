// Lengths, iteration, attributes, subscripts and slices.
#include <algorithm>

#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_form.h"
#include "text/jinja/unicode.h"

namespace hadal::jinja {
namespace {

/// How Jinja names an object in the message about a missing attribute.
std::string ObjectName(const Value& object) {
  return object.is_none() ? "None" : fmt::format("{} object", object.type_name());
}

Value NoAttribute(const Value& object, std::string_view name) {
  return Value::Undefined(fmt::format("'{}' has no attribute '{}'", ObjectName(object), name));
}

/// Where the character number `index` (at most the count of them) begins.
size_t ByteOffset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0; --index) at += CharacterBytes(static_cast<unsigned char>(text[at]));
  return at;
}

/// The item, or nothing; never an error.
std::optional<Value> Item(const Value& object, const Value& key) {
  if (object.is(Kind::kDict)) {
    const Value* found = object.as_dict().Find(key);
    return found ? std::optional(*found) : std::nullopt;
  }
  const auto index = key.integer();
  if (!index) return std::nullopt;
  auto place = [&](size_t size) {
    const int64_t n = static_cast<int64_t>(size);
    return *index < 0 ? *index + n : *index;
  };
  if (object.is(Kind::kSequence) && object.as_sequence().kind <= SequenceKind::kTuple) {
    const auto& items = object.as_sequence().items;
    const int64_t at = place(items.size());
    if (at >= 0 && at < static_cast<int64_t>(items.size())) return items[static_cast<size_t>(at)];
  }
  if (object.is_string()) {
    const std::string_view text = object.as_string();
    const size_t count = CharacterCount(text);
    const int64_t at = place(count);
    if (at < 0 || at >= static_cast<int64_t>(count)) return std::nullopt;
    const size_t begin = ByteOffset(text, static_cast<size_t>(at));
    return Value::String(
        std::string(text.substr(begin, CharacterBytes(static_cast<unsigned char>(text[begin])))));
  }
  return std::nullopt;
}

/// A method or an object's attribute, or nothing.
Result<std::optional<Value>> OwnAttribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is(Kind::kObject)) return object.as_object()->Attribute(runtime, name);
  return FindMethod(runtime, object, name);
}

struct Range {
  int64_t start, stop, step;
};

/// Python's slice.indices for a length.
Result<Range> Indices(int64_t length, const Value* start, const Value* stop, const Value* step) {
  auto bound = [](const Value* value) -> Result<std::optional<int64_t>> {
    if (!value || value->is_none()) return std::nullopt;
    if (auto i = value->integer()) return i;
    if (value->is_undefined()) return InvalidArgument("{}", value->why());
    return InvalidArgument("a slice needs int bounds, found {}", value->type_name());
  };
  ASSIGN_OR_RETURN(const auto from, bound(start));
  ASSIGN_OR_RETURN(const auto to, bound(stop));
  ASSIGN_OR_RETURN(const auto by, bound(step));
  Range range{0, 0, by.value_or(1)};
  if (range.step == 0) return InvalidArgument("the step of a slice cannot be 0");
  const int64_t low = range.step > 0 ? 0 : -1, high = range.step > 0 ? length : length - 1;
  auto clamp = [&](int64_t i) {
    return std::clamp(i < 0 ? std::max(i, -length - 1) + length : i, low, high);
  };
  range.start = from ? clamp(*from) : (range.step > 0 ? low : high);
  range.stop = to ? clamp(*to) : (range.step > 0 ? high : low);
  range.step = std::clamp(range.step, -length - 1, length + 1);  // the same items, and no overflow
  return range;
}

template <typename Take>
void Walk(const Range& range, Take take) {
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop; i += range.step)
    take(static_cast<size_t>(i));
}

}  // namespace

Result<int64_t> Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString: return static_cast<int64_t>(CharacterCount(value.as_string()));
    case Kind::kDict: return static_cast<int64_t>(value.as_dict().size());
    case Kind::kSequence:
      if (value.as_sequence().kind != SequenceKind::kGenerator)
        return static_cast<int64_t>(value.as_sequence().items.size());
      break;
    default: break;
  }
  return InvalidArgument("a {} has no length", value.type_name());
}

Result<std::vector<Value>> Iterate(Runtime& runtime, const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kUndefined: return items;
    case Kind::kSequence: {
      const Sequence& sequence = value.as_sequence();
      if (sequence.kind == SequenceKind::kGenerator) {
        const size_t from = std::exchange(sequence.consumed, sequence.items.size());
        items.assign(sequence.items.begin() + static_cast<ptrdiff_t>(from), sequence.items.end());
      } else {
        items = sequence.items;
      }
      break;
    }
    case Kind::kDict:
      for (const auto& entry : value.as_dict().entries()) items.push_back(entry.key);
      break;
    case Kind::kString: {
      const std::string& text = value.as_string();
      RETURN_IF_ERROR(runtime.Spend(static_cast<int64_t>(text.size())));
      for (std::string_view c : Characters(text)) items.push_back(Value::String(std::string(c)));
      return items;
    }
    default: return InvalidArgument("a {} cannot be iterated over", value.type_name());
  }
  RETURN_IF_ERROR(runtime.Spend(static_cast<int64_t>(items.size())));
  return items;
}

Result<Value> GetItem(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_undefined()) return InvalidArgument("{}", object.why());
  if (object.is_string()) RETURN_IF_ERROR(runtime.SpendText(object.as_string().size()));
  if (auto item = Item(object, key)) return *std::move(item);
  if (!key.is_string()) {
    auto shown = Repr(runtime, key);
    return Value::Undefined(
        fmt::format("{} has no element {}", ObjectName(object), shown ? *shown : "of that kind"));
  }
  ASSIGN_OR_RETURN(auto attribute, OwnAttribute(runtime, object, key.as_string()));
  return attribute ? *std::move(attribute) : NoAttribute(object, key.as_string());
}

Result<Value> GetAttribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is_undefined()) return InvalidArgument("{}", object.why());
  ASSIGN_OR_RETURN(auto attribute, OwnAttribute(runtime, object, name));
  if (attribute) return *std::move(attribute);
  if (object.is(Kind::kDict))
    if (const Value* item = object.as_dict().Find(name)) return *item;
  return NoAttribute(object, name);
}

Result<Value> Slice(Runtime& runtime, const Value& object, const Value* start, const Value* stop,
                    const Value* step) {
  if (object.is_undefined()) return InvalidArgument("{}", object.why());
  if (object.is_string()) {
    const std::string_view text = object.as_string();
    RETURN_IF_ERROR(runtime.SpendText(text.size()));
    ASSIGN_OR_RETURN(const Range range,
                     Indices(static_cast<int64_t>(CharacterCount(text)), start, stop, step));
    if (range.step == 1) {
      if (range.start >= range.stop) return Value::String("");
      const size_t begin = ByteOffset(text, static_cast<size_t>(range.start));
      const size_t bytes = ByteOffset(text.substr(begin), static_cast<size_t>(range.stop - range.start));
      return runtime.String(std::string(text.substr(begin, bytes)));
    }
    RETURN_IF_ERROR(runtime.Spend(static_cast<int64_t>(text.size())));
    const auto characters = Characters(text);
    std::string out;
    Walk(range, [&](size_t i) { out += characters[i]; });
    return runtime.String(std::move(out));
  }
  if (!object.is(Kind::kSequence) || object.as_sequence().kind > SequenceKind::kTuple)
    return InvalidArgument("a {} cannot be sliced", object.type_name());
  const Sequence& sequence = object.as_sequence();
  ASSIGN_OR_RETURN(const Range range,
                   Indices(static_cast<int64_t>(sequence.items.size()), start, stop, step));
  std::vector<Value> items;
  Walk(range, [&](size_t i) { items.push_back(sequence.items[i]); });
  return runtime.List(std::move(items), sequence.kind);
}

}  // namespace hadal::jinja
