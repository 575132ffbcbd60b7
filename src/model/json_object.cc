#include "model/json_object.h"

#include <algorithm>
#include <sstream>

namespace hadal {
namespace {

using simdjson::dom::element;

constexpr size_t kMaxBytes = size_t{16} << 20;
constexpr size_t kMaxDepth = 16;

std::string_view TypeName(element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "a list";
    case simdjson::dom::element_type::OBJECT:
      return "an object";
    case simdjson::dom::element_type::STRING:
      return "a string";
    case simdjson::dom::element_type::BOOL:
      return "true or false";
    case simdjson::dom::element_type::NULL_VALUE:
      return "null";
    case simdjson::dom::element_type::INT64:
    case simdjson::dom::element_type::UINT64:
      return "an integer";
    case simdjson::dom::element_type::DOUBLE:
      return "a decimal number";
  }
  return "something else";
}

/// simdjson keeps duplicate keys and finds the first; other readers take the last: neither is what was meant.
/// Recursion is bounded: the parser refused documents deeper than kMaxDepth.
Status RefuseDuplicates(element value, const std::string& where) {
  if (simdjson::dom::array list; value.get(list) == simdjson::SUCCESS) {
    for (element item : list) RETURN_IF_ERROR(RefuseDuplicates(item, where));
  }
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) return {};
  std::vector<std::string_view> keys;
  for (auto [key, item] : object) {
    keys.push_back(key);
    RETURN_IF_ERROR(RefuseDuplicates(item, where));
  }
  std::sort(keys.begin(), keys.end());
  if (auto twice = std::adjacent_find(keys.begin(), keys.end()); twice != keys.end())
    return InvalidArgument("{}: the key '{}' stands twice in one object; keep the one that is meant", where,
                           *twice);
  return {};
}

tl::unexpected<Error> WrongType(const std::string& where, std::string_view key, element found,
                                std::string_view expected) {
  return InvalidArgument("{}: {} is {}, expected {}", where, key, TypeName(found), expected);
}

}  // namespace

Result<element> JsonObject::Find(std::string_view key) const {
  element value;
  if (object_.at_key(key).get(value) != simdjson::SUCCESS || value.is_null())
    return InvalidArgument("{}: no {}", where_, key);
  return value;
}

bool JsonObject::Has(std::string_view key) const { return Find(key).has_value(); }

Result<int64_t> JsonObject::Int(std::string_view key, int64_t min, int64_t max) const {
  ASSIGN_OR_RETURN(const element found, Find(key));
  int64_t value = 0;
  if (found.is_uint64() && !found.is_int64())
    return InvalidArgument("{}: {} is {}, expected at most {}", where_, key, Written(key), max);
  if (!found.is_int64() || found.get(value) != simdjson::SUCCESS)
    return WrongType(where_, key, found, "an integer");
  if (value < min) return InvalidArgument("{}: {} is {}, expected at least {}", where_, key, value, min);
  if (value > max) return InvalidArgument("{}: {} is {}, expected at most {}", where_, key, value, max);
  return value;
}

Result<int64_t> JsonObject::IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  if (!Has(key)) return fallback;
  return Int(key, min, max);
}

Result<double> JsonObject::Number(std::string_view key, double min, double max) const {
  ASSIGN_OR_RETURN(const element found, Find(key));
  double value = 0;
  if (!found.is_number() || found.get(value) != simdjson::SUCCESS)
    return WrongType(where_, key, found, "a number");
  if (!(value >= min && value <= max))
    return InvalidArgument("{}: {} is {}, expected a number from {} to {}", where_, key, value, min, max);
  return value;
}

Result<double> JsonObject::NumberOr(std::string_view key, double fallback, double min, double max) const {
  if (!Has(key)) return fallback;
  return Number(key, min, max);
}

Result<bool> JsonObject::BoolOr(std::string_view key, bool fallback) const {
  if (!Has(key)) return fallback;
  ASSIGN_OR_RETURN(const element found, Find(key));
  bool value = false;
  if (found.get(value) != simdjson::SUCCESS) return WrongType(where_, key, found, "true or false");
  return value;
}

Result<std::string> JsonObject::Text(std::string_view key) const {
  ASSIGN_OR_RETURN(const element found, Find(key));
  std::string_view value;
  if (found.get(value) != simdjson::SUCCESS) return WrongType(where_, key, found, "a string");
  return std::string(value);
}

Result<std::string> JsonObject::TextOr(std::string_view key, std::string_view fallback) const {
  if (!Has(key)) return std::string(fallback);
  return Text(key);
}

Result<std::vector<int64_t>> JsonObject::Ints(std::string_view key, int64_t min, int64_t max,
                                              size_t max_count) const {
  std::vector<int64_t> values;
  if (!Has(key)) return values;
  ASSIGN_OR_RETURN(const element found, Find(key));
  simdjson::dom::array list;
  if (found.get(list) != simdjson::SUCCESS) {
    if (!found.is_int64()) return WrongType(where_, key, found, "an integer or a list of integers");
    ASSIGN_OR_RETURN(const int64_t value, Int(key, min, max));
    values.push_back(value);
    return values;
  }
  for (element item : list) {
    int64_t value = 0;
    if (!item.is_int64() || item.get(value) != simdjson::SUCCESS)
      return InvalidArgument("{}: {} holds {}, expected integers only", where_, key, TypeName(item));
    if (value < min || value > max)
      return InvalidArgument("{}: {} holds {}, expected integers from {} to {}", where_, key, value, min,
                             max);
    if (values.size() == max_count)
      return InvalidArgument("{}: {} holds more than {} integers", where_, key, max_count);
    values.push_back(value);
  }
  return values;
}

Result<JsonObject> JsonObject::Object(std::string_view key) const {
  ASSIGN_OR_RETURN(const element found, Find(key));
  simdjson::dom::object value;
  if (found.get(value) != simdjson::SUCCESS) return WrongType(where_, key, found, "an object");
  return JsonObject(value, fmt::format("{}: {}", where_, key));
}

std::vector<std::string_view> JsonObject::Keys() const {
  std::vector<std::string_view> keys;
  for (auto [key, value] : object_) keys.push_back(key);
  return keys;
}

std::string JsonObject::Written(std::string_view key) const {
  constexpr size_t kLongest = 40;
  element value;
  if (object_.at_key(key).get(value) != simdjson::SUCCESS) return "absent";
  std::ostringstream out;
  out << simdjson::minify(value);
  std::string text = out.str();
  if (text.size() > kLongest) text = text.substr(0, kLongest - 3) + "...";
  return text;
}

Result<JsonDocument> JsonDocument::Parse(std::string_view text, std::string_view name) {
  const std::string where(name);
  if (text.size() > kMaxBytes)
    return ResourceExhausted("{}: {} bytes, expected at most {}", where, text.size(), kMaxBytes);
  JsonDocument document;
  document.parser_ = std::make_unique<simdjson::dom::parser>(kMaxBytes + simdjson::SIMDJSON_PADDING);
  if (document.parser_->allocate(std::max<size_t>(text.size(), 64), kMaxDepth) != simdjson::SUCCESS)
    return ResourceExhausted("{}: no memory to parse {} bytes", where, text.size());
  element root;
  const auto error = document.parser_->parse(text.data(), text.size(), /*realloc_if_needed=*/true).get(root);
  if (error == simdjson::DEPTH_ERROR)
    return InvalidArgument("{}: nested deeper than {} levels", where, kMaxDepth);
  if (error != simdjson::SUCCESS)
    return InvalidArgument("{}: not valid JSON: {}", where, simdjson::error_message(error));
  simdjson::dom::object object;
  if (root.get(object) != simdjson::SUCCESS)
    return InvalidArgument("{}: the document is {}, expected an object", where, TypeName(root));
  RETURN_IF_ERROR(RefuseDuplicates(root, where));
  document.root_ = std::make_unique<JsonObject>(object, where);
  return document;
}

}  // namespace hadal
