// References within a schema's document, and whether two schemas exclude each other.
#pragma once

#include <string>

#include "engine/grammar/schema_node.h"

namespace hadal::grammar {

struct Target {
  std::string pointer;
  Json schema;
};

/// What the `$ref` of `node` refers to. kUnsupported: something outside the document. kInvalidArgument:
/// nothing.
Result<Target> Resolve(Json root, const SchemaNode& node);

/// `node`, or what it refers to, over several references. kInvalidArgument: references in a circle.
Result<SchemaNode> FollowReferences(Json root, SchemaNode node);

/// Whether it is plain that no value satisfies both: their types differ, their constants do, or those of a
/// property that both require.
Result<bool> AreDisjoint(Json root, Json a, Json b);

}  // namespace hadal::grammar
