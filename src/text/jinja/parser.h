// Parses a template with Jinja2's grammar, and refuses by name what is outside the supported subset.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "text/jinja/ast.h"

namespace hadal::jinja {

inline constexpr size_t kMaxSourceBytes = size_t{1} << 20;
/// Nested expressions and statements; a longer chain of operators than this is refused as well.
inline constexpr int kMaxParseDepth = 200;

struct ParsedTemplate {
  std::string source;  // with line ends normalised: what offsets point into
  Body body;
};

/// Parses `source`. kInvalidArgument for a syntax error, kUnsupported for a tag, filter or test that is not
/// in the subset, kResourceExhausted for a template that is too long or too deep; each names the line and
/// column.
Result<ParsedTemplate> ParseTemplate(std::string_view source);

}  // namespace hadal::jinja
