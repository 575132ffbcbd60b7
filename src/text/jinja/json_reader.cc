// ParseJson: simdjson's document tree as template values.
#include <simdjson.h>

#include "text/jinja/text_form.h"

namespace hadal::jinja {
namespace {

Result<Value> Convert(simdjson::dom::element element, int depth) {
  if (depth > kMaxValueDepth)
    return ResourceExhausted("the JSON is nested deeper than {} levels", kMaxValueDepth);
  switch (element.type()) {
    case simdjson::dom::element_type::NULL_VALUE: return Value::None();
    case simdjson::dom::element_type::BOOL: return Value::Bool(element.get_bool().value_unsafe());
    case simdjson::dom::element_type::INT64: return Value::Int(element.get_int64().value_unsafe());
    case simdjson::dom::element_type::DOUBLE: return Value::Float(element.get_double().value_unsafe());
    case simdjson::dom::element_type::STRING:
      return Value::String(std::string(element.get_string().value_unsafe()));
    case simdjson::dom::element_type::UINT64:
      return Unsupported("the JSON has the integer {}; the largest that a template can use is 2^63 - 1",
                         element.get_uint64().value_unsafe());
    case simdjson::dom::element_type::ARRAY: {
      auto list = std::make_shared<Sequence>();
      for (simdjson::dom::element item : element.get_array().value_unsafe()) {
        ASSIGN_OR_RETURN(Value value, Convert(item, depth + 1));
        list->depth = std::max(list->depth, 1 + value.depth());
        list->items.push_back(std::move(value));
      }
      return Value::Of(std::shared_ptr<const Sequence>(std::move(list)));
    }
    case simdjson::dom::element_type::OBJECT: {
      auto dict = std::make_shared<Dict>();
      for (auto [key, item] : element.get_object().value_unsafe()) {
        ASSIGN_OR_RETURN(Value value, Convert(item, depth + 1));
        dict->Set(Value::String(std::string(key)), std::move(value));
      }
      return Value::Of(std::shared_ptr<const Dict>(std::move(dict)));
    }
  }
  return Internal("simdjson gave an element of unknown type");
}

}  // namespace

Result<Value> ParseJson(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (auto error = parser.parse(json.data(), json.size()).get(root))
    return InvalidArgument("not valid JSON: {}", simdjson::error_message(error));
  return Convert(root, 1);
}

}  // namespace hadal::jinja
