#include "engine/grammar/schema_disjoint.h"

#include <algorithm>
#include <set>

#include "engine/grammar/json_rules.h"

namespace hadal::grammar {
namespace {

constexpr int kMaxReferences = 32;  // one after the other

/// The values of `enum` or `const` as text; empty: any.
std::set<std::string> Constants(const SchemaNode& node) {
  std::set<std::string> texts;
  simdjson::dom::array list;
  if (const Json* one = node.Find("const")) {
    texts.insert(JsonText(*one, {}));
  } else if (node.Has("enum") && !node.Find("enum")->get(list)) {
    for (const Json value : list) texts.insert(JsonText(value, {}));
  }
  return texts;
}

bool ConstantsDiffer(const SchemaNode& a, const SchemaNode& b) {
  const std::set<std::string> left = Constants(a), right = Constants(b);
  if (left.empty() || right.empty()) return false;
  return std::ranges::none_of(left, [&](const std::string& text) { return right.contains(text); });
}

/// Whether a property that both require has different constants.
Result<bool> PropertiesDiffer(Json root, const SchemaNode& a, const SchemaNode& b) {
  ASSIGN_OR_RETURN(const auto required, a.Strings("required"));
  ASSIGN_OR_RETURN(const auto others, b.Strings("required"));
  ASSIGN_OR_RETURN(const auto left, a.Members("properties"));
  ASSIGN_OR_RETURN(const auto right, b.Members("properties"));
  for (const auto& [name, schema] : left) {
    if (std::ranges::find(required, name) == required.end()) continue;
    if (std::ranges::find(others, name) == others.end()) continue;
    const auto other = std::ranges::find(right, name, &std::pair<std::string_view, Json>::first);
    if (other == right.end() || !schema.is_object() || !other->second.is_object()) continue;
    ASSIGN_OR_RETURN(SchemaNode one, SchemaNode::Of(schema, ""));
    ASSIGN_OR_RETURN(SchemaNode two, SchemaNode::Of(other->second, ""));
    ASSIGN_OR_RETURN(one, FollowReferences(root, std::move(one)));
    ASSIGN_OR_RETURN(two, FollowReferences(root, std::move(two)));
    if (ConstantsDiffer(one, two)) return true;
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

Result<Target> Resolve(Json root, const SchemaNode& node) {
  std::string_view text;
  if (node.Find("$ref")->get(text))
    return InvalidArgument("the schema's {} must be a string", node.PlaceOf("$ref"));
  const bool local = text == "#" || text.starts_with("#/");
  if (!local || text.find('%') != text.npos)
    return Unsupported(
        "the schema's '$ref' at {} is '{}'; only references within it are supported, such as "
        "#/$defs/name",
        node.PlaceOf("$ref"), text.substr(0, 128));
  Target target{std::string(text.substr(1)), root};
  if (!target.pointer.empty() && root.at_pointer(target.pointer).get(target.schema))
    return InvalidArgument("the schema's '$ref' at {} refers to '{}', which is not there",
                           node.PlaceOf("$ref"), text.substr(0, 128));
  return target;
}

Result<SchemaNode> FollowReferences(Json root, SchemaNode node) {
  for (int i = 0; node.Has("$ref"); ++i) {
    if (i == kMaxReferences) return InvalidArgument("the schema's {} refers to itself", node.PlaceOf("$ref"));
    RETURN_IF_ERROR(node.AllowOnly("$ref", {}));
    ASSIGN_OR_RETURN(Target target, Resolve(root, node));
    ASSIGN_OR_RETURN(node, SchemaNode::Of(target.schema, std::move(target.pointer)));
  }
  return node;
}

Result<bool> AreDisjoint(Json root, Json a, Json b) {
  if (!a.is_object() || !b.is_object()) return false;
  ASSIGN_OR_RETURN(SchemaNode one, SchemaNode::Of(a, ""));
  ASSIGN_OR_RETURN(SchemaNode two, SchemaNode::Of(b, ""));
  ASSIGN_OR_RETURN(one, FollowReferences(root, std::move(one)));
  ASSIGN_OR_RETURN(two, FollowReferences(root, std::move(two)));
  ASSIGN_OR_RETURN(const unsigned left, PossibleTypes(one));
  ASSIGN_OR_RETURN(const unsigned right, PossibleTypes(two));
  if ((left & right) == 0 || ConstantsDiffer(one, two)) return true;
  ASSIGN_OR_RETURN(const unsigned written, one.Types());
  ASSIGN_OR_RETURN(const unsigned written_too, two.Types());
  if (written != kObject || written_too != kObject) return false;
  return PropertiesDiffer(root, one, two);
}

}  // namespace hadal::grammar
