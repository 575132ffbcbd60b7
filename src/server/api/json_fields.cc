#include "server/api/json_fields.h"

#include <algorithm>
#include <ranges>

namespace hadal::api {
namespace {

using simdjson::dom::element_type;

/// The parser's own sentences, but where it says too little.
std::string_view Sentence(simdjson::error_code error) {
  if (error == simdjson::STRING_ERROR)
    return "a string holds a control character, an unknown escape or half a surrogate pair";
  return simdjson::error_message(error);
}

/// Of a number as the parser found it; nothing for other kinds.
std::optional<int64_t> Integer(Json value) {
  int64_t integer = 0;
  if (value.type() != element_type::INT64 || value.get(integer)) return std::nullopt;
  return integer;
}

}  // namespace

ApiResult<JsonBody> JsonBody::Parse(std::string_view text) {
  JsonBody body;
  body.parser_ = std::make_unique<simdjson::dom::parser>();
  simdjson::error_code error = body.parser_->allocate(std::max<size_t>(text.size(), 1), kMaxJsonDepth);
  if (!error) error = body.parser_->parse(text.data(), text.size()).get(body.root_);
  if (error) return BadField({}, "the body is not valid JSON: {}", Sentence(error));
  return body;
}

std::string_view KindOf(Json value) {
  switch (value.type()) {
    case element_type::ARRAY:
      return "an array";
    case element_type::OBJECT:
      return "an object";
    case element_type::STRING:
      return "a string";
    case element_type::BOOL:
      return "a boolean";
    case element_type::NULL_VALUE:
      return "null";
    case element_type::DOUBLE:
      return "a number with a fraction or exponent";
    case element_type::UINT64:
      return "a number beyond 64 bits with sign";
    case element_type::INT64:
      return "an integer";
  }
  return "unknown";
}

ApiResult<jinja::Value> ToTemplateValue(Json value) {
  switch (value.type()) {
    case element_type::NULL_VALUE:
      return jinja::Value::None();
    case element_type::BOOL:
      return jinja::Value::Bool(value.get_bool().value_unsafe());
    case element_type::INT64:
      return jinja::Value::Int(value.get_int64().value_unsafe());
    case element_type::UINT64:
      return BadField({}, "an integer is {}, beyond 64 bits with sign", value.get_uint64().value_unsafe());
    case element_type::DOUBLE:
      return jinja::Value::Float(value.get_double().value_unsafe());
    case element_type::STRING:
      return jinja::Value::String(std::string(value.get_string().value_unsafe()));
    case element_type::ARRAY: {
      auto items = std::make_shared<jinja::Sequence>();
      for (const Json item : value.get_array().value_unsafe()) {
        ASSIGN_OR_RETURN(jinja::Value made, ToTemplateValue(item));
        items->depth = std::max(items->depth, 1 + made.depth());
        items->items.push_back(std::move(made));
      }
      return jinja::Value::Of(std::shared_ptr<const jinja::Sequence>(std::move(items)));
    }
    case element_type::OBJECT: {
      auto dict = std::make_shared<jinja::Dict>();
      for (const auto member : value.get_object().value_unsafe()) {
        ASSIGN_OR_RETURN(jinja::Value made, ToTemplateValue(member.value));
        dict->Set(jinja::Value::String(std::string(member.key)), std::move(made));
      }
      return jinja::Value::Of(std::shared_ptr<const jinja::Dict>(std::move(dict)));
    }
  }
  return jinja::Value::None();
}

ApiResult<Fields> Fields::Of(Json value, std::string where) {
  simdjson::dom::object object;
  if (value.get(object))
    return BadField(where, "{} must be an object and is {}", where.empty() ? "the body" : where,
                    KindOf(value));
  Fields fields;
  fields.where_ = std::move(where);
  for (const auto member : object) fields.members_.emplace_back(member.key, member.value);
  std::ranges::sort(fields.members_, {}, [](const auto& member) { return member.first; });
  const auto twice =
      std::ranges::adjacent_find(fields.members_, {}, [](const auto& member) { return member.first; });
  if (twice != fields.members_.end()) {
    const std::string place = fields.Place(twice->first.substr(0, 64));
    return BadField(place, "'{}' stands twice", place);
  }
  return fields;
}

const Json* Fields::Find(std::string_view name) const {
  const auto found =
      std::ranges::lower_bound(members_, name, {}, [](const auto& member) { return member.first; });
  if (found == members_.end() || found->first != name || found->second.is_null()) return nullptr;
  return &found->second;
}

std::string Fields::Place(std::string_view name) const {
  return where_.empty() ? std::string(name) : fmt::format("{}.{}", where_, name);
}

ApiStatus Fields::Take(std::string_view name, bool& out) const {
  const Json* found = Find(name);
  if (found && found->get(out))
    return BadField(Place(name), "'{}' must be true or false and is {}", Place(name), KindOf(*found));
  return {};
}

ApiStatus Fields::Take(std::string_view name, double& out) const {
  const Json* found = Find(name);
  if (found && found->get(out))
    return BadField(Place(name), "'{}' must be a number and is {}", Place(name), KindOf(*found));
  return {};
}

ApiStatus Fields::Take(std::string_view name, std::string& out) const {
  const Json* found = Find(name);
  std::string_view text;
  if (found && found->get(text))
    return BadField(Place(name), "'{}' must be a string and is {}", Place(name), KindOf(*found));
  if (found) out = text;
  return {};
}

ApiStatus Fields::Take(std::string_view name, int64_t& out, int64_t lowest, int64_t highest) const {
  const Json* found = Find(name);
  if (!found) return {};
  const std::optional<int64_t> value = Integer(*found);
  if (!value) return BadField(Place(name), "'{}' must be an integer and is {}", Place(name), KindOf(*found));
  if (*value < lowest || *value > highest)
    return BadField(Place(name), "'{}' is {}, expected {} to {}", Place(name), *value, lowest, highest);
  out = *value;
  return {};
}

ApiStatus Fields::TakeIntegers(std::string_view name, std::vector<int64_t>& out, int64_t lowest,
                               int64_t highest, size_t max_items) const {
  const Json* found = Find(name);
  if (!found) return {};
  simdjson::dom::array items;
  if (found->get(items))
    return BadField(Place(name), "'{}' must be an array of integers and is {}", Place(name), KindOf(*found));
  for (const Json item : items) {
    const std::optional<int64_t> value = Integer(item);
    if (out.size() == max_items)
      return BadField(Place(name), "'{}' has more than {} items", Place(name), max_items);
    if (!value)
      return BadField(Place(name), "'{}[{}]' must be an integer and is {}", Place(name), out.size(),
                      KindOf(item));
    if (*value < lowest || *value > highest)
      return BadField(Place(name), "'{}[{}]' is {}, expected {} to {}", Place(name), out.size(), *value,
                      lowest, highest);
    out.push_back(*value);
  }
  return {};
}

}  // namespace hadal::api
