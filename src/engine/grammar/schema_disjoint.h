// References within a schema's document, and whether two schemas exclude each other.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "engine/grammar/schema_node.h"

namespace hadal::grammar {

struct Target {
  std::string pointer;
  Json schema;
};

/// The references of one document. Each is looked up once: a look-up reads all members before the one it finds.
class References {
 public:
  explicit References(Json root) : root_(root) {}

  /// What the `$ref` of `node` refers to. kUnsupported: something outside the document. kInvalidArgument:
  /// nothing.
  Result<Target> Resolve(const SchemaNode& node);
  /// `node`, or what it refers to, over several references. kInvalidArgument: references in a circle.
  Result<SchemaNode> Follow(SchemaNode node);

 private:
  Json root_;
  std::map<std::string, Json, std::less<>> found_;  // by pointer
};

/// Whether it is plain that no value satisfies both: their types differ, their constants do, or those of a
/// property that both require. Adds to `comparisons` the members and constants that it looks at.
Result<bool> AreDisjoint(References& references, Json a, Json b, int64_t& comparisons);

}  // namespace hadal::grammar
