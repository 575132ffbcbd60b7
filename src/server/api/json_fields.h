// The body of a call: strict JSON, and its fields with their types checked.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/api/api_error.h"
#include "text/jinja/value.h"

namespace hadal::api {

using Json = simdjson::dom::element;

// JSON schemas of tools nest some twenty levels at most; every walk over a body is bounded by this.
inline constexpr int kMaxJsonDepth = 100;

/// A parsed body. The whole text is validated: what is not JSON in UTF-8, nests deeper than kMaxJsonDepth, or
/// holds a lone surrogate or a number that fits neither 64 bits nor a double is refused.
class JsonBody {
 public:
  static ApiResult<JsonBody> Parse(std::string_view text);
  Json root() const { return root_; }

 private:
  std::unique_ptr<simdjson::dom::parser> parser_;  // owns what root_ points into
  Json root_;
};

/// "a string", "an object", "null": for sentences.
std::string_view KindOf(Json value);

/// The same value for templates. kInvalidArgument: an integer beyond 64 bits with sign.
ApiResult<jinja::Value> ToTemplateValue(Json value);

/// The members of one object. A member that is null counts as absent; one that stands twice is refused, since
/// parsers differ in which of the two they take.
class Fields {
 public:
  /// `where` is the object's own place for messages: "messages[3]"; empty for the body. Views into `value`.
  static ApiResult<Fields> Of(Json value, std::string where = {});

  const Json* Find(std::string_view name) const;
  /// The place of a member: "messages[3].role".
  std::string Place(std::string_view name) const;

  // Each leaves `out` alone if the member is absent; a 400 names the member, what it is and what it must be.
  ApiStatus Take(std::string_view name, bool& out) const;
  ApiStatus Take(std::string_view name, double& out) const;
  ApiStatus Take(std::string_view name, std::string& out) const;
  ApiStatus Take(std::string_view name, int64_t& out, int64_t lowest = std::numeric_limits<int64_t>::min(),
                 int64_t highest = std::numeric_limits<int64_t>::max()) const;
  /// An array of at most `max_items` whole numbers in range.
  ApiStatus TakeIntegers(std::string_view name, std::vector<int64_t>& out, int64_t lowest, int64_t highest,
                         size_t max_items) const;

  const std::vector<std::pair<std::string_view, Json>>& members() const { return members_; }

 private:
  std::string where_;
  std::vector<std::pair<std::string_view, Json>> members_;  // by name
};

}  // namespace hadal::api
