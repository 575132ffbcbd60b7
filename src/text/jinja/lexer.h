// A template's source as tokens. Whitespace control happens here, as Jinja2 does it with trim_blocks and
// lstrip_blocks: a block tag alone on its line leaves nothing behind, and `-` or `+` beside a delimiter
// overrule.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hadal::jinja {

enum class TokenKind {
  kData,           // text between tags, to print as it is
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,  // `text` has the escapes resolved
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  size_t offset;  // into the source
  std::string text;
};

/// Cuts `source`, whose line ends are all "\n". Errors name the line and column.
Result<std::vector<Token>> Tokenize(std::string_view source);

/// "line 3, column 14", counted from 1, columns in characters.
std::string PlaceOf(std::string_view source, size_t offset);

}  // namespace hadal::jinja
