// A strict reader of small JSON documents: typed, range-checked access whose errors name the key.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hadal {

/// One object of a JsonDocument, which must outlive it. A key whose value is null counts as absent.
/// The accessors return kInvalidArgument if the key is absent, of another type or out of [min, max].
class JsonObject {
 public:
  /// `where` is how errors begin: "config.json", "config.json: rope_scaling".
  JsonObject(simdjson::dom::object object, std::string where) : object_(object), where_(std::move(where)) {}

  bool Has(std::string_view key) const;
  Result<int64_t> Int(std::string_view key, int64_t min, int64_t max) const;
  Result<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  Result<double> Number(std::string_view key, double min, double max) const;
  Result<double> NumberOr(std::string_view key, double fallback, double min, double max) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string> Text(std::string_view key) const;
  Result<std::string> TextOr(std::string_view key, std::string_view fallback) const;
  /// An integer, or a list of at most `max_count` of them; absent: empty.
  Result<std::vector<int64_t>> Ints(std::string_view key, int64_t min, int64_t max, size_t max_count) const;
  Result<JsonObject> Object(std::string_view key) const;
  std::vector<std::string_view> Keys() const;

  /// The value as it is written, for error messages; at most 40 characters.
  std::string Written(std::string_view key) const;
  const std::string& where() const { return where_; }

 private:
  Result<simdjson::dom::element> Find(std::string_view key) const;
  simdjson::dom::object object_;
  std::string where_;
};

/// A parsed document whose root is an object.
class JsonDocument {
 public:
  /// kInvalidArgument: not JSON, the root is no object, a key stands twice in one object, nested deeper
  /// than 16. kResourceExhausted: longer than 16 MiB.
  static Result<JsonDocument> Parse(std::string_view text, std::string_view name);
  const JsonObject& root() const { return *root_; }

 private:
  JsonDocument() = default;
  std::unique_ptr<simdjson::dom::parser> parser_;  // owns what root_ points into
  std::unique_ptr<JsonObject> root_;
};

}  // namespace hadal
