// What a call says of the form of its answer, before it is a grammar.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/api/json_fields.h"

namespace hadal::api {

/// Views into the call's body.
struct OutputSpec {
  enum Content { kAnyText, kGbnf, kJsonObject, kJsonSchema };
  Content content = kAnyText;
  std::string place;      // of the field that says so, for messages
  std::string gbnf = {};  // kGbnf
  Json schema = {};       // kJsonSchema

  struct Tool {
    std::string name;
    bool strict = false;
    std::optional<Json> parameters = {};  // a schema
    std::string place = {};               // of the parameters
  };
  std::vector<Tool> tools = {};  // those that may be called
  bool must_call = false;        // the answer is a call, or several
  bool one_call = false;         // at most one

  /// Whether it says anything at all.
  bool binds() const {
    if (content != kAnyText) return true;
    if (tools.empty()) return false;
    for (const Tool& tool : tools)
      if (tool.strict) return true;
    return must_call || one_call;
  }
};

}  // namespace hadal::api
