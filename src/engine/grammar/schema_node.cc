#include "engine/grammar/schema_node.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace hadal::grammar {
namespace {

constexpr auto kAnnotations =
    std::to_array<std::string_view>({"title", "description", "default", "examples", "example", "deprecated",
                                     "readOnly", "writeOnly", "$schema", "$id", "$comment", "$defs",
                                     "definitions", "discriminator", "contentEncoding", "contentMediaType"});

struct Keyword {
  std::string_view name;
  unsigned type;  // it is about; 0: any
};
constexpr Keyword kKeywords[] = {
    {"type", 0},
    {"enum", 0},
    {"const", 0},
    {"anyOf", 0},
    {"oneOf", 0},
    {"allOf", 0},
    {"$ref", 0},
    {"properties", kObject},
    {"required", kObject},
    {"additionalProperties", kObject},
    {"minProperties", kObject},
    {"maxProperties", kObject},
    {"items", kArray},
    {"prefixItems", kArray},
    {"minItems", kArray},
    {"maxItems", kArray},
    {"uniqueItems", kArray},
    {"minLength", kString},
    {"maxLength", kString},
    {"pattern", kString},
    {"format", kString},
    {"minimum", kNumber},
    {"maximum", kNumber},
    {"exclusiveMinimum", kNumber},
    {"exclusiveMaximum", kNumber},
    {"multipleOf", kNumber},
};

struct TypeName {
  std::string_view name;
  unsigned type;
};
constexpr TypeName kTypeNames[] = {{"null", kNull},     {"boolean", kBoolean}, {"integer", kInteger},
                                   {"number", kNumber}, {"string", kString},   {"array", kArray},
                                   {"object", kObject}};

/// Extensions of OpenAPI begin with "x-".
bool IsAnnotation(std::string_view keyword) {
  return keyword.starts_with("x-") || std::ranges::find(kAnnotations, keyword) != kAnnotations.end();
}

const Keyword* KeywordNamed(std::string_view name) {
  const auto found = std::ranges::find(kKeywords, name, &Keyword::name);
  return found == std::end(kKeywords) ? nullptr : found;
}

Result<std::vector<std::pair<std::string_view, Json>>> MembersOf(Json value, const std::string& place) {
  simdjson::dom::object object;
  if (value.get(object)) return InvalidArgument("the schema's {} must be an object", place);
  std::vector<std::pair<std::string_view, Json>> members;
  std::vector<std::string_view> names;
  for (const auto member : object) {
    members.emplace_back(member.key, member.value);
    names.push_back(member.key);
  }
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end())
    return InvalidArgument("the schema's {} has the member '{}' twice", place, twice->substr(0, 64));
  return members;
}

}  // namespace

std::string PointerPart(std::string_view name) {
  std::string part;
  for (const char c : name) {
    if (c == '~')
      part += "~0";
    else if (c == '/')
      part += "~1";
    else
      part += c;
  }
  return part;
}

unsigned TypeOf(Json value) {
  switch (value.type()) {
    case simdjson::dom::element_type::NULL_VALUE:
      return kNull;
    case simdjson::dom::element_type::BOOL:
      return kBoolean;
    case simdjson::dom::element_type::INT64:
    case simdjson::dom::element_type::UINT64:
      return kInteger;
    case simdjson::dom::element_type::DOUBLE: {
      const double number = value.get_double().value_unsafe();
      return number == std::floor(number) ? kInteger : kNumber;
    }
    case simdjson::dom::element_type::STRING:
      return kString;
    case simdjson::dom::element_type::ARRAY:
      return kArray;
    case simdjson::dom::element_type::OBJECT:
      return kObject;
  }
  return 0;
}

Result<SchemaNode> SchemaNode::Of(Json value, std::string place) {
  SchemaNode node;
  if (place.size() > kMaxPlaceBytes)
    return Unsupported("the schema's names on the way to {}... are longer than {} bytes together", place.substr(0, 64),
                       kMaxPlaceBytes);
  ASSIGN_OR_RETURN(node.members_, MembersOf(value, place.empty() ? "root" : place));
  node.place_ = std::move(place);
  for (const auto& [keyword, unused] : node.members_) {
    if (!KeywordNamed(keyword) && !IsAnnotation(keyword))
      return Unsupported("the schema's keyword '{}' at {} is not supported", keyword.substr(0, 64),
                         node.PlaceOf(PointerPart(keyword.substr(0, 64))));
  }
  return node;
}

const Json* SchemaNode::Find(std::string_view keyword) const {
  const auto found = std::ranges::find(members_, keyword, &std::pair<std::string_view, Json>::first);
  return found == members_.end() ? nullptr : &found->second;
}

Result<std::optional<double>> SchemaNode::Number(std::string_view keyword) const {
  const Json* found = Find(keyword);
  if (!found) return std::optional<double>();
  double number = 0;
  if (found->get(number)) return InvalidArgument("the schema's {} must be a number", PlaceOf(keyword));
  return number;
}

Result<std::optional<int64_t>> SchemaNode::Count(std::string_view keyword) const {
  ASSIGN_OR_RETURN(const std::optional<double> number, Number(keyword));
  if (!number) return std::optional<int64_t>();
  if (!(*number >= 0 && *number <= 9e15) || *number != std::floor(*number))
    return InvalidArgument("the schema's {} must be a whole number from 0 on", PlaceOf(keyword));
  return static_cast<int64_t>(*number);
}

Result<unsigned> SchemaNode::Types() const {
  const Json* found = Find("type");
  unsigned types = 0;
  if (!found) {
    for (const auto& [keyword, value] : members_) {
      if (const Keyword* known = KeywordNamed(keyword)) types |= known->type;
    }
    return types == 0 ? kAnyType : types;
  }
  const auto add = [&](Json name) -> Status {
    std::string_view text;
    if (name.get(text))
      return InvalidArgument("the schema's {} must be a string or strings", PlaceOf("type"));
    const auto known = std::ranges::find(kTypeNames, text, &TypeName::name);
    if (known == std::end(kTypeNames))
      return InvalidArgument("the schema's {} is '{}', which is no type", PlaceOf("type"),
                             text.substr(0, 64));
    types |= known->type;
    return {};
  };
  simdjson::dom::array list;
  if (found->get(list)) {
    RETURN_IF_ERROR(add(*found));
    return types;
  }
  for (const Json name : list) RETURN_IF_ERROR(add(name));
  if (types == 0) return InvalidArgument("the schema's {} is empty", PlaceOf("type"));
  return types;
}

Status SchemaNode::AllowOnly(std::string_view beside, std::initializer_list<std::string_view> allowed) const {
  for (const auto& [keyword, value] : members_) {
    if (keyword == beside || IsAnnotation(keyword) || std::ranges::find(allowed, keyword) != allowed.end())
      continue;
    return Unsupported("the schema's keyword '{}' at {} is not supported beside '{}'", keyword,
                       PlaceOf(keyword), beside);
  }
  return {};
}

Result<std::vector<std::pair<std::string_view, Json>>> SchemaNode::Members(std::string_view keyword) const {
  const Json* found = Find(keyword);
  if (!found) return std::vector<std::pair<std::string_view, Json>>();
  return MembersOf(*found, PlaceOf(keyword));
}

Result<std::vector<std::string_view>> SchemaNode::Strings(std::string_view keyword) const {
  std::vector<std::string_view> strings;
  const Json* found = Find(keyword);
  if (!found) return strings;
  simdjson::dom::array list;
  const auto wrong = [&] {
    return InvalidArgument("the schema's {} must be an array of strings", PlaceOf(keyword));
  };
  if (found->get(list)) return wrong();
  for (const Json item : list) {
    std::string_view text;
    if (item.get(text)) return wrong();
    strings.push_back(text);
  }
  return strings;
}

}  // namespace hadal::grammar
