// One schema of a document, with its members looked at.
#pragma once

#include <simdjson.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace hadal::grammar {

using Json = simdjson::dom::element;

enum SchemaType : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kNumber = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
};
inline constexpr unsigned kAnyType = 127 & ~kInteger;

// Rules have the places of their schemas as names: what is below a long name repeats it.
inline constexpr size_t kMaxPlaceBytes = 1024;

/// An object that is a schema, and its place. Every keyword of it is known.
class SchemaNode {
 public:
  /// kUnsupported: an unknown keyword, named, or a place beyond kMaxPlaceBytes. kInvalidArgument: no object, or a member
  /// that stands twice.
  static Result<SchemaNode> Of(Json value, std::string place);

  const Json* Find(std::string_view keyword) const;
  bool Has(std::string_view keyword) const { return Find(keyword) != nullptr; }
  const std::string& place() const { return place_; }
  /// The place for a message: the root has a name there.
  std::string place_text() const { return place_.empty() ? "the root" : place_; }
  int64_t member_count() const { return static_cast<int64_t>(members_.size()); }
  std::string PlaceOf(std::string_view keyword) const { return place_ + "/" + std::string(keyword); }

  /// A count, 0 to 2^53; nothing if it isn't there.
  Result<std::optional<int64_t>> Count(std::string_view keyword) const;
  Result<std::optional<double>> Number(std::string_view keyword) const;
  /// The types of `type`; without it, those that the keywords are about; without these, all.
  Result<unsigned> Types() const;
  /// Refuses all keywords but annotations and those given.
  Status AllowOnly(std::string_view beside, std::initializer_list<std::string_view> allowed) const;
  /// The members of an object that a keyword holds.
  Result<std::vector<std::pair<std::string_view, Json>>> Members(std::string_view keyword) const;
  Result<std::vector<std::string_view>> Strings(std::string_view keyword) const;

 private:
  std::string place_;
  std::vector<std::pair<std::string_view, Json>> members_;
};

/// The type that a value has; a whole number is kInteger.
unsigned TypeOf(Json value);

/// `name` as a part of a JSON pointer.
std::string PointerPart(std::string_view name);

}  // namespace hadal::grammar
