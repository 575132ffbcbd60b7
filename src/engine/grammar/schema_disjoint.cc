#include "engine/grammar/schema_disjoint.h"

#include <algorithm>
#include <map>
#include <set>

#include "engine/grammar/json_rules.h"

namespace hadal::grammar {
namespace {

constexpr int kMaxReferences = 32;  // one after the other

/// The values of `enum` or `const` as text, in order; empty: any.
std::vector<std::string> Constants(const SchemaNode& node) {
  std::vector<std::string> texts;
  simdjson::dom::array list;
  if (const Json* one = node.Find("const")) {
    texts.push_back(JsonText(*one, {}));
  } else if (node.Has("enum") && !node.Find("enum")->get(list)) {
    for (const Json value : list) texts.push_back(JsonText(value, {}));
  }
  std::ranges::sort(texts);
  return texts;
}

bool ConstantsDiffer(const SchemaNode& a, const SchemaNode& b, int64_t& comparisons) {
  const std::vector<std::string> left = Constants(a), right = Constants(b);
  comparisons += static_cast<int64_t>(left.size() + right.size());
  if (left.empty() || right.empty()) return false;
  return std::ranges::none_of(left, [&](const std::string& text) { return std::ranges::binary_search(right, text); });
}

/// Whether a property that both require has different constants.
Result<bool> PropertiesDiffer(References& references, const SchemaNode& a, const SchemaNode& b,
                              int64_t& comparisons) {
  ASSIGN_OR_RETURN(const auto first, a.Strings("required"));
  ASSIGN_OR_RETURN(const auto second, b.Strings("required"));
  ASSIGN_OR_RETURN(const auto left, a.Members("properties"));
  ASSIGN_OR_RETURN(const auto members, b.Members("properties"));
  comparisons += static_cast<int64_t>(first.size() + second.size() + left.size() + members.size());
  const std::set<std::string_view> required(first.begin(), first.end()), others(second.begin(), second.end());
  const std::map<std::string_view, Json> right(members.begin(), members.end());
  for (const auto& [name, schema] : left) {
    const auto other = right.find(name);
    if (!required.contains(name) || !others.contains(name) || other == right.end()) continue;
    if (!schema.is_object() || !other->second.is_object()) continue;
    ASSIGN_OR_RETURN(SchemaNode one, SchemaNode::Of(schema, ""));
    ASSIGN_OR_RETURN(SchemaNode two, SchemaNode::Of(other->second, ""));
    ASSIGN_OR_RETURN(one, references.Follow(std::move(one)));
    ASSIGN_OR_RETURN(two, references.Follow(std::move(two)));
    comparisons += one.member_count() + two.member_count();
    if (ConstantsDiffer(one, two, comparisons)) return true;
  }
  return false;
}

/// The types that values of the schema may have.
Result<unsigned> PossibleTypes(const SchemaNode& node) {
  if (node.Has("anyOf") || node.Has("oneOf") || node.Has("allOf")) return kAnyType | kInteger;
  unsigned types = 0;
  simdjson::dom::array list;
  if (const Json* one = node.Find("const")) {
    types = TypeOf(*one);
  } else if (node.Has("enum") && !node.Find("enum")->get(list)) {
    for (const Json value : list) types |= TypeOf(value);
  } else if (node.Has("type")) {
    ASSIGN_OR_RETURN(types, node.Types());
  } else {
    types = kAnyType;  // keywords say nothing of values of other types
  }
  return types & kNumber ? types | kInteger : types;
}

}  // namespace

Result<Target> References::Resolve(const SchemaNode& node) {
  std::string_view text;
  if (node.Find("$ref")->get(text))
    return InvalidArgument("the schema's {} must be a string", node.PlaceOf("$ref"));
  const bool local = text == "#" || text.starts_with("#/");
  if (!local || text.find('%') != text.npos)
    return Unsupported(
        "the schema's '$ref' at {} is '{}'; only references within it are supported, such as "
        "#/$defs/name",
        node.PlaceOf("$ref"), text.substr(0, 128));
  Target target{std::string(text.substr(1)), root_};
  if (target.pointer.empty()) return target;
  if (const auto known = found_.find(target.pointer); known != found_.end()) {
    target.schema = known->second;
    return target;
  }
  if (root_.at_pointer(target.pointer).get(target.schema))
    return InvalidArgument("the schema's '$ref' at {} refers to '{}', which is not there",
                           node.PlaceOf("$ref"), text.substr(0, 128));
  found_.emplace(target.pointer, target.schema);
  return target;
}

Result<SchemaNode> References::Follow(SchemaNode node) {
  for (int i = 0; node.Has("$ref"); ++i) {
    if (i == kMaxReferences) return InvalidArgument("the schema's {} refers to itself", node.PlaceOf("$ref"));
    RETURN_IF_ERROR(node.AllowOnly("$ref", {}));
    ASSIGN_OR_RETURN(Target target, Resolve(node));
    ASSIGN_OR_RETURN(node, SchemaNode::Of(target.schema, std::move(target.pointer)));
  }
  return node;
}

Result<bool> AreDisjoint(References& references, Json a, Json b, int64_t& comparisons) {
  if (!a.is_object() || !b.is_object()) return false;
  ASSIGN_OR_RETURN(SchemaNode one, SchemaNode::Of(a, ""));
  ASSIGN_OR_RETURN(SchemaNode two, SchemaNode::Of(b, ""));
  ASSIGN_OR_RETURN(one, references.Follow(std::move(one)));
  ASSIGN_OR_RETURN(two, references.Follow(std::move(two)));
  comparisons += one.member_count() + two.member_count();
  ASSIGN_OR_RETURN(const unsigned left, PossibleTypes(one));
  ASSIGN_OR_RETURN(const unsigned right, PossibleTypes(two));
  if ((left & right) == 0 || ConstantsDiffer(one, two, comparisons)) return true;
  ASSIGN_OR_RETURN(const unsigned written, one.Types());
  ASSIGN_OR_RETURN(const unsigned written_too, two.Types());
  if (written != kObject || written_too != kObject) return false;
  return PropertiesDiffer(references, one, two, comparisons);
}

}  // namespace hadal::grammar
