// Filters of sequences: map, select, sort, join and their kin.
#include <algorithm>
#include <charconv>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/predicates.h"
#include "text/jinja/text_form.h"
#include "text/jinja/unicode.h"

namespace hadal::jinja {
namespace {

/// item.a.b.0 for the path "a.b.0" (or an index); each step as GetItem. An undefined step becomes `fallback`,
/// if any.
Result<Value> Attribute(Runtime& runtime, Value item, const Value& path, const Value* fallback) {
  auto step = [&](const Value& key) -> Status {
    ASSIGN_OR_RETURN(item, GetItem(runtime, item, key));
    if (fallback && item.is_undefined()) item = *fallback;
    return {};
  };
  if (!path.is_string()) {
    RETURN_IF_ERROR(step(path));
    return item;
  }
  std::string_view rest = path.as_string();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool digits = read.ec == std::errc() && read.ptr == part.data() + part.size() && index >= 0;
    RETURN_IF_ERROR(step(digits ? Value::Int(index) : Value::String(std::string(part))));
    if (dot == std::string_view::npos) return item;
    rest.remove_prefix(dot + 1);
  }
}

/// What filters with `attribute` and `case_sensitive` compare an item by.
Result<Value> KeyOf(Runtime& runtime, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = item;
  if (attribute && !attribute->is_none()) {
    if (attribute->is_string() && attribute->as_string().find(',') != std::string::npos)
      return Unsupported("more than one attribute ('{}') is not supported", attribute->as_string());
    ASSIGN_OR_RETURN(key, Attribute(runtime, item, *attribute, nullptr));
  }
  if (case_sensitive || !key.is_string()) return key;
  RETURN_IF_ERROR(runtime.SpendText(key.as_string().size() * 16));
  return runtime.String(ToLower(key.as_string()));
}

Result<Value> Join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("join", arguments, {"d", "attribute"}));
  std::string separator;
  if (bound[0]) {
    ASSIGN_OR_RETURN(separator, Str(runtime, *bound[0]));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, input));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const Value item, KeyOf(runtime, items[i], bound[1], true));
    ASSIGN_OR_RETURN(const std::string text, Str(runtime, item));
    RETURN_IF_ERROR(runtime.MayHold(out.size() + separator.size() + text.size()));
    RETURN_IF_ERROR(runtime.SpendText(separator.size() + text.size()));
    if (i) out += separator;
    out += text;
  }
  return runtime.String(std::move(out));
}

Result<Value> First(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("first", arguments, {}));
  if (input.is(Kind::kSequence)) {  // without copying, and taking only one from a generator
    const Sequence& sequence = input.as_sequence();
    const bool generator = sequence.kind == SequenceKind::kGenerator;
    const size_t at = generator ? sequence.consumed : 0;
    if (at >= sequence.items.size()) return Value::Undefined("no first item, the sequence is empty");
    if (generator) ++sequence.consumed;
    return sequence.items[at];
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, input));
  return items.empty() ? Value::Undefined("no first item, the sequence is empty") : items.front();
}

Result<Value> Last(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("last", arguments, {}));
  if (input.is(Kind::kSequence) && input.as_sequence().kind == SequenceKind::kGenerator)
    return InvalidArgument("a generator has no last item; put |list before |last");
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, input));
  return items.empty() ? Value::Undefined("no last item, the sequence is empty") : items.back();
}

Result<Value> List(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("list", arguments, {}));
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(runtime, input));
  return runtime.List(std::move(items));
}

Result<Value> ItemsFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("items", arguments, {}));
  std::vector<Value> pairs;
  if (input.is(Kind::kDict)) {
    for (const auto& [key, value] : input.as_dict().entries()) {
      ASSIGN_OR_RETURN(Value pair, runtime.List({key, value}, SequenceKind::kTuple));
      pairs.push_back(std::move(pair));
    }
  } else if (!input.is_undefined()) {
    return InvalidArgument("items needs a dict, found a {}", input.type_name());
  }
  return runtime.List(std::move(pairs), SequenceKind::kGenerator);
}

Result<Value> Reverse(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("reverse", arguments, {}));
  if (input.is_string()) {
    const Value back = Value::Int(-1);
    return Slice(runtime, input, nullptr, nullptr, &back);
  }
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(runtime, input));
  std::reverse(items.begin(), items.end());
  return runtime.List(std::move(items), SequenceKind::kGenerator);
}

/// A list of the attributes named in `attributes`, with commas between them, as Jinja2 sorts by: items without
/// the attribute are then equal rather than without order.
Result<Value> SortKey(Runtime& runtime, const Value& item, const Value* attributes, bool case_sensitive) {
  std::vector<Value> keys;
  const bool named = attributes && attributes->is_string();
  std::string_view rest = named ? std::string_view(attributes->as_string()) : "";
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    more = comma != std::string_view::npos;
    const Value part = Value::String(std::string(rest.substr(0, comma)));
    ASSIGN_OR_RETURN(Value key, KeyOf(runtime, item, named ? &part : attributes, case_sensitive));
    keys.push_back(std::move(key));
    if (more) rest.remove_prefix(comma + 1);
  }
  return runtime.List(std::move(keys));
}

Result<Value> Sort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(runtime, input));
  std::vector<Value> keys;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, SortKey(runtime, item, bound[2], TruthOr(bound[1], false)));
    keys.push_back(std::move(key));
  }
  RETURN_IF_ERROR(SortByKeys(runtime, keys, items, TruthOr(bound[0], false)));
  return runtime.List(std::move(items));
}

Result<Value> DictSort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}));
  ASSIGN_OR_RETURN(const std::string by, StringOr("dictsort", bound[1], "key"));
  if (by != "key" && by != "value")
    return InvalidArgument("dictsort: by is '{}', expected 'key' or 'value'", by);
  if (!input.is(Kind::kDict)) return InvalidArgument("dictsort needs a dict, found a {}", input.type_name());
  std::vector<Value> keys, pairs;
  for (const auto& [key, value] : input.as_dict().entries()) {
    ASSIGN_OR_RETURN(Value sort_key,
                     KeyOf(runtime, by == "key" ? key : value, nullptr, TruthOr(bound[0], false)));
    ASSIGN_OR_RETURN(Value pair, runtime.List({key, value}, SequenceKind::kTuple));
    keys.push_back(std::move(sort_key));
    pairs.push_back(std::move(pair));
  }
  RETURN_IF_ERROR(SortByKeys(runtime, keys, pairs, TruthOr(bound[2], false)));
  return runtime.List(std::move(pairs));
}

Result<Value> Unique(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("unique", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, input));
  Dict seen;
  std::vector<Value> out;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, KeyOf(runtime, item, bound[1], TruthOr(bound[0], false)));
    if (!Dict::Hashable(key))
      return InvalidArgument("unique: a {} cannot be compared by hash", key.type_name());
    if (seen.Find(key)) continue;
    seen.Set(std::move(key), Value::None());
    out.push_back(item);
  }
  return runtime.List(std::move(out), SequenceKind::kGenerator);
}

template <bool kLargest>
Result<Value> Extreme(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound,
                   Bind(kLargest ? "max" : "min", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, input));
  if (items.empty()) return Value::Undefined("no item to choose from, the sequence is empty");
  size_t best = 0;
  Value best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(Value key, KeyOf(runtime, items[i], bound[1], TruthOr(bound[0], false)));
    if (i) {
      ASSIGN_OR_RETURN(const bool better,
                       kLargest ? Less(runtime, best_key, key) : Less(runtime, key, best_key));
      if (!better) continue;
    }
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Result<Value> Sum(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("sum", arguments, {"attribute", "start"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, input));
  Value total = bound[1] ? *bound[1] : Value::Int(0);
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value term, KeyOf(runtime, item, bound[0], true));
    ASSIGN_OR_RETURN(total, Binary(runtime, "+", total, term));
  }
  return total;
}

/// The items that map and select go through: none, rather than an error, for None, 0 and other false values.
Result<std::vector<Value>> ItemsOrNone(Runtime& runtime, const Value& input) {
  return input.truth() ? Iterate(runtime, input) : std::vector<Value>();
}

/// map(attribute=..., default=...) or map('filter', arguments...).
Result<Value> Map(Runtime& runtime, const Value& input, const Arguments& arguments) {
  std::vector<Value> out;
  if (arguments.positional.empty()) {
    ASSIGN_OR_RETURN(const auto bound, Bind("map", arguments, {"attribute", "default"}, 1));
    ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOrNone(runtime, input));
    for (const Value& item : items) {
      ASSIGN_OR_RETURN(Value value, Attribute(runtime, item, *bound[0], bound[1]));
      out.push_back(std::move(value));
    }
    return runtime.List(std::move(out), SequenceKind::kGenerator);
  }
  ASSIGN_OR_RETURN(const std::string name, StringOr("map", &arguments.positional[0], ""));
  const Filter* filter = FindFilter(name);
  if (!filter) return Unsupported("map: no filter '{}' here; known are {}", name, FilterNames());
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOrNone(runtime, input));
  for (const Value& item : items) {
    Runtime::Level level(runtime);
    if (level.too_deep()) return ResourceExhausted("map: nested too deep");
    ASSIGN_OR_RETURN(Value value, filter->function(runtime, item, rest));
    out.push_back(std::move(value));
  }
  return runtime.List(std::move(out), SequenceKind::kGenerator);
}

/// select, reject, selectattr and rejectattr: keep the items of which a test (truth, without one) holds, or
/// not.
template <bool kKeep, bool kByAttribute>
Result<Value> Choose(Runtime& runtime, const Value& input, const Arguments& arguments) {
  Arguments rest = arguments;
  Value attribute;
  if (kByAttribute) {
    if (rest.positional.empty()) return InvalidArgument("selectattr and rejectattr need an attribute's name");
    attribute = rest.positional[0];
    rest.positional.erase(rest.positional.begin());
  }
  const Predicate* predicate = nullptr;
  if (!rest.positional.empty()) {
    ASSIGN_OR_RETURN(const std::string name, StringOr("a test's name", &rest.positional[0], ""));
    predicate = FindPredicate(name);
    if (!predicate) return Unsupported("no test '{}' here; known are {}", name, PredicateNames());
    rest.positional.erase(rest.positional.begin());
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOrNone(runtime, input));
  std::vector<Value> out;
  for (const Value& item : items) {
    Value subject = item;
    if (kByAttribute) {
      ASSIGN_OR_RETURN(subject, Attribute(runtime, item, attribute, nullptr));
    }
    bool holds = subject.truth();
    if (predicate) {
      ASSIGN_OR_RETURN(holds, predicate->function(runtime, subject, rest));
    }
    if (holds == kKeep) out.push_back(item);
  }
  return runtime.List(std::move(out), SequenceKind::kGenerator);
}

}  // namespace

const std::vector<Filter>& SequenceFilters() {
  static const std::vector<Filter> kFilters = {
      {"dictsort", DictSort},
      {"first", First},
      {"items", ItemsFilter},
      {"join", Join},
      {"last", Last},
      {"list", List},
      {"map", Map},
      {"max", Extreme<true>},
      {"min", Extreme<false>},
      {"reverse", Reverse},
      {"reject", Choose<false, false>},
      {"rejectattr", Choose<false, true>},
      {"select", Choose<true, false>},
      {"selectattr", Choose<true, true>},
      {"sort", Sort},
      {"sum", Sum},
      {"unique", Unique},
  };
  return kFilters;
}

}  // namespace hadal::jinja
