// Python's operators on values: arithmetic, comparison, containment, subscripts and iteration.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

/// a op b for + - * / // % **. Integers are 64 bits wide: a result beyond that is an error.
Result<Value> Binary(Runtime& runtime, std::string_view op, const Value& a, const Value& b);
Result<Value> Negative(const Value& value);

/// ==, over all types, deep.
Result<bool> Equal(Runtime& runtime, const Value& a, const Value& b);
/// a < b; an error where Python has no order between the types.
Result<bool> Less(Runtime& runtime, const Value& a, const Value& b);
/// a op b for == != < <= > >= in, not in.
Result<bool> Compare(Runtime& runtime, std::string_view op, const Value& a, const Value& b);
/// item in container.
Result<bool> Contains(Runtime& runtime, const Value& item, const Value& container);

/// text.find(wanted, from) in time linear in both, whatever they repeat.
size_t FindText(std::string_view text, std::string_view wanted, size_t from = 0);

/// len(value); an error for what has no length.
Result<int64_t> Length(const Value& value);
/// What a loop over `value` visits: items, characters or keys. Reads a generator to its end.
Result<std::vector<Value>> Iterate(Runtime& runtime, const Value& value);

/// object[key] as Jinja looks it up: items before attributes, undefined if there is neither.
Result<Value> GetItem(Runtime& runtime, const Value& object, const Value& key);
/// object.name: attributes (methods) before items.
Result<Value> GetAttribute(Runtime& runtime, const Value& object, std::string_view name);
/// object[start:stop:step]; each bound may be null or None.
Result<Value> Slice(Runtime& runtime, const Value& object, const Value* start, const Value* stop,
                    const Value* step);

/// Stable sort by Less on `keys`, which move along with `items`.
Status SortByKeys(Runtime& runtime, std::vector<Value>& keys, std::vector<Value>& items, bool reverse);

}  // namespace hadal::jinja
