// The fields that ask for a form of the answer: response_format and grammar.
#pragma once

#include "server/api/output_spec.h"

namespace hadal::openai {

using namespace api;

/// Into `spec`. 400: neither text, json_object nor json_schema; both fields; other engines' names for them.
ApiStatus ReadResponseFormat(const Fields& fields, OutputSpec& spec);

}  // namespace hadal::openai
