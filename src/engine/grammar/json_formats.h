// The formats of strings that JSON Schema names.
#pragma once

#include <optional>
#include <string_view>

#include "engine/grammar/grammar.h"

namespace hadal::grammar {

/// The contents of a string of the format, without quotes; none of them needs an escape. Nothing for a format
/// that is not known. Known: date, time, date-time (RFC 3339, with the days of each month), duration
/// (ISO 8601), uuid, email, hostname, ipv4, ipv6, uri: for the last four of these common forms, not all that
/// their RFCs allow.
std::optional<ExprId> FormatContents(Grammar& grammar, std::string_view format);

}  // namespace hadal::grammar
