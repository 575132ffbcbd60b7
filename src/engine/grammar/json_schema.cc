#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <set>

#include "engine/grammar/json_formats.h"
#include "engine/grammar/json_numbers.h"
#include "engine/grammar/json_object.h"
#include "engine/grammar/json_pattern.h"
#include "engine/grammar/schema_disjoint.h"
#include "engine/grammar/schema_node.h"

namespace hadal::grammar {
namespace {

constexpr double kExactIntegers = 9007199254740992;  // 2^53: what a double tells apart
constexpr size_t kMaxOneOf = 64;                     // compared in pairs

/// Counts values and text, and refuses a schema that has too much of either or is too deep. Recursion: `levels`.
class Measure {
 public:
  Status Add(Json value, int levels) {
    simdjson::dom::array list;
    simdjson::dom::object object;
    std::string_view text;
    RETURN_IF_ERROR(Count(value.get(text) ? 0 : text.size()));
    const bool is_list = !value.get(list), is_object = !value.get(object);
    if ((is_list || is_object) && levels == 0)
      return InvalidArgument("the schema is nested more than {} deep", kMaxNesting);
    if (is_list) {
      for (const Json item : list) RETURN_IF_ERROR(Add(item, levels - 1));
    } else if (is_object) {
      for (const auto member : object) {
        text_ += member.key.size();
        RETURN_IF_ERROR(Add(member.value, levels - 1));
      }
    }
    return {};
  }

 private:
  Status Count(size_t text) {
    text_ += text;
    if (++values_ > kMaxSchemaValues) return InvalidArgument("the schema has more than {} values", kMaxSchemaValues);
    if (text_ > kMaxSchemaText)
      return InvalidArgument("the schema's names and texts have more than {} bytes", kMaxSchemaText);
    return {};
  }
  size_t values_ = 0, text_ = 0;
};

class Converter {
 public:
  Converter(Grammar& grammar, Json root, std::string where, const JsonOptions& options)
      : grammar_(grammar), root_(root), references_(root), where_(std::move(where)), options_(options) {}

  Result<ExprId> Run() {
    AddJsonRules(grammar_, options_);
    const ExprId whole = Reference("");
    while (!waiting_.empty()) {
      const auto [pointer, schema, rule] = std::move(waiting_.front());
      waiting_.pop_front();
      ASSIGN_OR_RETURN(const ExprId body, Convert(schema, pointer));
      grammar_.Define(rule, body);
      RETURN_IF_ERROR(grammar_.CheckSize());
    }
    return whole;
  }

 private:
  struct Waiting {
    std::string pointer;
    Json schema;
    RuleId rule;
  };

  ExprId Rule(std::string_view name) { return grammar_.Ref(grammar_.RuleNamed(name)); }

  /// The rule of the schema at `pointer`, which is converted later: references may go round in circles.
  ExprId Reference(const std::string& pointer, Json schema) {
    const std::string name = where_ + "#" + pointer;
    const bool known = grammar_.FindRule(name).has_value();
    const RuleId rule = grammar_.RuleNamed(name);
    if (!known) waiting_.push_back({pointer, schema, rule});
    return grammar_.Ref(rule);
  }
  ExprId Reference(const std::string& pointer) { return Reference(pointer, root_); }

  /// Recursion is bounded by the document's depth: what a reference leads to is converted by itself, later.
  Result<ExprId> Convert(Json schema, const std::string& place) {
    RETURN_IF_ERROR(grammar_.CheckSize());
    bool anything = false;
    if (!schema.get(anything)) {
      if (anything) return Rule("json-value");
      return InvalidArgument("the schema's {} is false, which nothing satisfies",
                             place.empty() ? "root" : place);
    }
    ASSIGN_OR_RETURN(const SchemaNode node, SchemaNode::Of(schema, place));
    if (node.Has("$ref")) return ConvertReference(node);
    if (node.Has("allOf")) return ConvertAllOf(node);
    if (node.Has("anyOf")) return ConvertAlternatives(node, "anyOf");
    if (node.Has("oneOf")) return ConvertAlternatives(node, "oneOf");
    if (node.Has("enum")) return ConvertConstants(node, "enum");
    if (node.Has("const")) return ConvertConstants(node, "const");
    return ConvertTypes(node);
  }

  Result<ExprId> ConvertReference(const SchemaNode& node) {
    RETURN_IF_ERROR(node.AllowOnly("$ref", {}));
    ASSIGN_OR_RETURN(const Target target, references_.Resolve(node));
    return Reference(target.pointer, target.schema);
  }

  Result<ExprId> ConvertAlternatives(const SchemaNode& node, std::string_view keyword) {
    RETURN_IF_ERROR(node.AllowOnly(keyword, {}));
    simdjson::dom::array list;
    if (node.Find(keyword)->get(list) || list.size() == 0)
      return InvalidArgument("the schema's {} must be an array of schemas", node.PlaceOf(keyword));
    std::vector<ExprId> ways;
    std::vector<Json> schemas;
    for (const Json schema : list) {
      ASSIGN_OR_RETURN(const ExprId way,
                       Convert(schema, fmt::format("{}/{}", node.PlaceOf(keyword), ways.size())));
      ways.push_back(way);
      schemas.push_back(schema);
    }
    if (keyword == "oneOf") RETURN_IF_ERROR(CheckDisjoint(schemas, node.PlaceOf(keyword)));
    return grammar_.Choice(std::move(ways));
  }

  Status CheckDisjoint(const std::vector<Json>& schemas, const std::string& place) {
    if (schemas.size() > kMaxOneOf)
      return Unsupported("the schema's {} has {} entries; at most {} are compared, so use anyOf", place,
                         schemas.size(), kMaxOneOf);
    for (size_t i = 0; i < schemas.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        int64_t comparisons = 0;
        ASSIGN_OR_RETURN(const bool disjoint, AreDisjoint(references_, schemas[i], schemas[j], comparisons));
        RETURN_IF_ERROR(grammar_.CountComparisons(comparisons));
        if (!disjoint)
          return Unsupported(
              "the schema's keyword 'oneOf' at {} is not supported where a value may satisfy two entries, as "
              "{} and {} may; give them different types, or a required property with different constants, or "
              "use anyOf",
              place, j, i);
      }
    }
    return {};
  }

  Result<ExprId> ConvertConstants(const SchemaNode& node, std::string_view keyword) {
    RETURN_IF_ERROR(node.AllowOnly(keyword, {"type"}));
    unsigned types = kAnyType;
    if (node.Has("type")) {
      ASSIGN_OR_RETURN(types, node.Types());
    }
    if (types & kNumber) types |= kInteger;
    std::vector<std::string> texts;  // of scalars, in one tree
    std::vector<ExprId> ways;
    const auto add = [&](Json value) {
      const unsigned type = TypeOf(value);
      if (!(type & types) && node.Has("type")) return;
      if (type & (kArray | kObject))
        ways.push_back(JsonConstant(grammar_, value, options_));
      else
        texts.push_back(JsonText(value, options_));
    };
    simdjson::dom::array list;
    if (keyword == "const") {
      add(*node.Find("const"));
    } else if (node.Find("enum")->get(list)) {
      return InvalidArgument("the schema's {} must be an array", node.PlaceOf("enum"));
    } else {
      for (const Json value : list) add(value);
    }
    if (texts.empty() && ways.empty())
      return InvalidArgument("the schema's {} leaves no value of its type", node.PlaceOf(keyword));
    if (!texts.empty()) ways.push_back(grammar_.Strings(std::move(texts)));
    return grammar_.Choice(std::move(ways));
  }

  Result<ExprId> ConvertTypes(const SchemaNode& node) {
    ASSIGN_OR_RETURN(unsigned types, node.Types());
    const bool free = node.AllowOnly("type", {}).has_value();
    if (free && types == kAnyType) return Rule("json-value");
    if (types & kNumber) types &= ~unsigned{kInteger};
    std::vector<ExprId> ways;
    if (types & kNull) ways.push_back(grammar_.Literal("null"));
    if (types & kBoolean) ways.push_back(grammar_.Strings({"true", "false"}));
    using Make = Result<ExprId> (Converter::*)(const SchemaNode&);
    constexpr std::pair<SchemaType, Make> kMakers[] = {{kInteger, &Converter::ConvertInteger},
                                                       {kNumber, &Converter::ConvertNumber},
                                                       {kString, &Converter::ConvertString},
                                                       {kArray, &Converter::ConvertArray},
                                                       {kObject, &Converter::ConvertObject}};
    for (const auto& [type, make] : kMakers) {
      if (!(types & type)) continue;
      ASSIGN_OR_RETURN(const ExprId way, (this->*make)(node));
      ways.push_back(way);
    }
    return grammar_.Choice(std::move(ways));
  }

  struct Bounds {
    std::optional<NumberBound> low, high;
  };
  Result<Bounds> ReadBounds(const SchemaNode& node) {
    Bounds bounds;
    for (const bool exclusive : {false, true}) {
      ASSIGN_OR_RETURN(const auto low, node.Number(exclusive ? "exclusiveMinimum" : "minimum"));
      ASSIGN_OR_RETURN(const auto high, node.Number(exclusive ? "exclusiveMaximum" : "maximum"));
      // Of two equal ones the exclusive one binds; it comes second.
      if (low && (!bounds.low || *low >= bounds.low->value)) bounds.low = NumberBound{*low, exclusive};
      if (high && (!bounds.high || *high <= bounds.high->value)) bounds.high = NumberBound{*high, exclusive};
    }
    return bounds;
  }

  Result<ExprId> ConvertInteger(const SchemaNode& node) {
    ASSIGN_OR_RETURN(const auto multiple, node.Number("multipleOf"));
    if (multiple && *multiple != 1)
      return Unsupported("the schema's keyword 'multipleOf' at {} is only supported as 1",
                         node.PlaceOf("multipleOf"));
    ASSIGN_OR_RETURN(const Bounds bounds, ReadBounds(node));
    if (!bounds.low && !bounds.high) return Rule("json-integer");
    const auto whole = [](const NumberBound& bound, double towards) {
      const double rounded = towards > 0 ? std::ceil(bound.value) : std::floor(bound.value);
      return bound.exclusive && rounded == bound.value ? rounded + towards : rounded;
    };
    const double low = bounds.low ? whole(*bounds.low, 1) : -static_cast<double>(kLargestInteger);
    const double high = bounds.high ? whole(*bounds.high, -1) : static_cast<double>(kLargestInteger);
    if ((bounds.low && std::abs(low) > kExactIntegers) || (bounds.high && std::abs(high) > kExactIntegers))
      return Unsupported("the schema's bounds at {} are beyond 2^53", node.place_text());
    if (low > high) return InvalidArgument("no integer lies between the schema's bounds at {}", node.place_text());
    return IntegersBetween(grammar_, bounds.low ? static_cast<int64_t>(low) : -kLargestInteger,
                           bounds.high ? static_cast<int64_t>(high) : kLargestInteger);
  }

  Result<ExprId> ConvertNumber(const SchemaNode& node) {
    if (node.Has("multipleOf"))
      return Unsupported("the schema's keyword 'multipleOf' at {} is only supported for integers, as 1",
                         node.PlaceOf("multipleOf"));
    ASSIGN_OR_RETURN(const Bounds bounds, ReadBounds(node));
    if (!bounds.low && !bounds.high) return Rule("json-number");
    Result<ExprId> made = NumbersBetween(grammar_, bounds.low, bounds.high);
    if (!made)
      return MakeError(made.error().code, "the schema's bounds at {}: {}", node.place_text(),
                       made.error().message);
    return made;
  }

  Result<ExprId> Quoted(ExprId contents) {
    return grammar_.Sequence({grammar_.Literal("\""), contents, grammar_.Literal("\"")});
  }

  Result<ExprId> ConvertString(const SchemaNode& node) {
    ASSIGN_OR_RETURN(const auto min, node.Count("minLength"));
    ASSIGN_OR_RETURN(const auto max, node.Count("maxLength"));
    for (const std::string_view keyword : {"pattern", "format"}) {
      if (!node.Has(keyword)) continue;
      RETURN_IF_ERROR(node.AllowOnly(keyword, {"type"}));
      std::string_view text;
      if (node.Find(keyword)->get(text))
        return InvalidArgument("the schema's {} must be a string", node.PlaceOf(keyword));
      return keyword == "format" ? ConvertFormat(node, text) : ConvertPattern(node, text);
    }
    if (!min && !max) return Rule("json-string");
    if (max && min.value_or(0) > *max)
      return InvalidArgument("the schema's maxLength at {} is below its minLength", node.place_text());
    for (const auto count : {min, max}) {
      if (count && *count > kMaxRepetition)
        return Unsupported("the schema's lengths at {} are above {}", node.place_text(), kMaxRepetition);
    }
    return Quoted(grammar_.Repeat(Rule("json-char"), min.value_or(0), max ? *max : kUnbounded));
  }

  Result<ExprId> ConvertFormat(const SchemaNode& node, std::string_view format) {
    const std::optional<ExprId> contents = FormatContents(grammar_, format);
    if (contents) return Quoted(*contents);
    return Unsupported("the schema's 'format' '{}' at {} is not supported", format.substr(0, 64),
                       node.PlaceOf("format"));
  }

  Result<ExprId> ConvertPattern(const SchemaNode& node, std::string_view pattern) {
    const Result<ExprId> contents = PatternContents(grammar_, pattern, options_);
    if (contents) return Quoted(*contents);
    const bool unsupported = contents.error().code == Code::kUnsupported;
    return MakeError(contents.error().code, "the schema's 'pattern' at {} has {}, which is {}",
                     node.PlaceOf("pattern"), contents.error().message,
                     unsupported ? "not supported" : "no regular expression");
  }

  Result<ExprId> ConvertArray(const SchemaNode& node) {
    const Json* unique = node.Find("uniqueItems");
    ASSIGN_OR_RETURN(const auto min, node.Count("minItems"));
    ASSIGN_OR_RETURN(const auto max, node.Count("maxItems"));
    bool is_unique = false;
    if (unique && unique->get(is_unique))
      return InvalidArgument("the schema's {} must be true or false", node.PlaceOf("uniqueItems"));
    if (is_unique && max.value_or(2) > 1)
      return Unsupported("the schema's keyword 'uniqueItems' at {} is not supported",
                         node.PlaceOf("uniqueItems"));
    ArrayParts parts;
    parts.min = min;
    parts.max = max;
    simdjson::dom::array list;
    if (const Json* prefix = node.Find("prefixItems")) {
      if (prefix->get(list))
        return InvalidArgument("the schema's {} must be an array of schemas", node.PlaceOf("prefixItems"));
      for (const Json item : list) {
        ASSIGN_OR_RETURN(const ExprId made, Convert(item, fmt::format("{}/{}", node.PlaceOf("prefixItems"),
                                                                      parts.first.size())));
        parts.first.push_back(made);
      }
    }
    const Json* items = node.Find("items");
    bool allowed = true;
    if (items && items->is_array())
      return Unsupported("the schema's keyword 'items' at {} is not supported as an array; use prefixItems",
                         node.PlaceOf("items"));
    if (items && (items->get(allowed) || allowed)) {
      ASSIGN_OR_RETURN(parts.rest, Convert(*items, node.PlaceOf("items")));
    } else if (!items && !node.Has("prefixItems")) {
      parts.rest = Rule("json-value");
    }
    return ArrayExpression(grammar_, parts, RulePrefix(node));
  }

  /// For the names of rules that belong to a node.
  std::string RulePrefix(const SchemaNode& node) const { return where_ + "#" + node.place() + " "; }

  Result<ExprId> ConvertObject(const SchemaNode& node) {
    ObjectParts parts;
    RETURN_IF_ERROR(AddProperties(node, parts));
    return FinishObject(node, parts);
  }

  /// `by_reference`: as rules of their own, since the node was come to by a reference, which may go round in circles.
  Status AddProperties(const SchemaNode& node, ObjectParts& parts, bool by_reference = false) {
    ASSIGN_OR_RETURN(const auto properties, node.Members("properties"));
    ASSIGN_OR_RETURN(const auto required, node.Strings("required"));
    parts.required.insert(required.begin(), required.end());
    for (const auto& [name, schema] : properties) {
      const std::string place = node.PlaceOf("properties") + "/" + PointerPart(name);
      if (!parts.names.insert(std::string(name)).second)
        return Unsupported("the schema's property '{}' at {} stands in two parts of an allOf",
                           name.substr(0, 64), place);
      bool allowed = true;
      if (!schema.get(allowed) && !allowed) continue;  // it must not be there
      if (by_reference) {
        parts.members.push_back({std::string(name), Reference(place, schema)});
        continue;
      }
      ASSIGN_OR_RETURN(const ExprId value, Convert(schema, place));
      parts.members.push_back({std::string(name), value});
    }
    return {};
  }

  Result<ExprId> FinishObject(const SchemaNode& node, ObjectParts& parts) {
    const Json* additional = node.Find("additionalProperties");
    bool allowed = true;
    if (additional && (additional->get(allowed) || allowed)) {
      ASSIGN_OR_RETURN(parts.additional, Convert(*additional, node.PlaceOf("additionalProperties")));
    } else if (!additional && parts.names.empty()) {
      parts.additional = Rule("json-value");
    }
    std::set<std::string> declared;
    for (const ObjectParts::Member& member : parts.members) declared.insert(member.name);
    for (const std::string& name : parts.required) {
      if (declared.contains(name)) continue;
      if (parts.names.contains(name) || (additional && !parts.additional))
        return InvalidArgument("the schema at {} requires the property '{}' and forbids it",
                               node.PlaceOf("required"), name.substr(0, 64));
      parts.members.push_back({name, parts.additional ? *parts.additional : Rule("json-value")});
      parts.names.insert(name);
    }
    ASSIGN_OR_RETURN(parts.min, node.Count("minProperties"));
    ASSIGN_OR_RETURN(parts.max, node.Count("maxProperties"));
    Result<ExprId> made = ObjectExpression(grammar_, parts, RulePrefix(node), options_);
    if (!made)
      return MakeError(made.error().code, "the schema at {}: {}", node.PlaceOf(""), made.error().message);
    return made;
  }

  Result<ExprId> ConvertAllOf(const SchemaNode& node) {
    simdjson::dom::array list;
    if (node.Find("allOf")->get(list) || list.size() == 0)
      return InvalidArgument("the schema's {} must be an array of schemas", node.PlaceOf("allOf"));
    if (list.size() == 1 && node.AllowOnly("allOf", {}).has_value())
      return Convert(*list.begin(), node.PlaceOf("allOf") + "/0");
    RETURN_IF_ERROR(node.AllowOnly("allOf", {"type", "properties", "required"}));
    ObjectParts parts;
    size_t index = 0;
    for (const Json schema : list) {
      ASSIGN_OR_RETURN(SchemaNode part,
                       SchemaNode::Of(schema, fmt::format("{}/{}", node.PlaceOf("allOf"), index++)));
      const bool refers = part.Has("$ref");
      ASSIGN_OR_RETURN(part, references_.Follow(std::move(part)));
      RETURN_IF_ERROR(part.AllowOnly("allOf", {"type", "properties", "required"}));
      RETURN_IF_ERROR(CheckIsObject(part));
      RETURN_IF_ERROR(AddProperties(part, parts, refers));
    }
    RETURN_IF_ERROR(CheckIsObject(node));
    RETURN_IF_ERROR(AddProperties(node, parts));
    return FinishObject(node, parts);
  }

  Status CheckIsObject(const SchemaNode& node) {
    ASSIGN_OR_RETURN(const unsigned types, node.Types());
    if (types == kObject || (types == kAnyType && !node.Has("type"))) return {};
    return Unsupported("the schema's keyword 'allOf' is only supported for objects, and {} is none",
                       node.place_text());
  }

  Grammar& grammar_;
  const Json root_;
  References references_;
  const std::string where_;
  const JsonOptions options_;
  std::deque<Waiting> waiting_;
};

}  // namespace

Result<ExprId> SchemaExpression(Grammar& grammar, Json schema, const std::string& where,
                                const JsonOptions& options) {
  RETURN_IF_ERROR(Measure().Add(schema, kMaxNesting));
  return Converter(grammar, schema, where, options).Run();
}

}  // namespace hadal::grammar
