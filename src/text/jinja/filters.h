// The filters: `value | name(arguments)`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/jinja/runtime.h"

namespace hadal::jinja {

struct Filter {
  std::string_view name;
  Result<Value> (*function)(Runtime& runtime, const Value& input, const Arguments& arguments);
};

/// nullptr if there is no such filter.
const Filter* FindFilter(std::string_view name);
/// The names of all filters, with commas, for messages.
std::string FilterNames();

/// The tables that FindFilter looks into: filters of text and numbers, and of sequences.
const std::vector<Filter>& ScalarFilters();
const std::vector<Filter>& SequenceFilters();

}  // namespace hadal::jinja
