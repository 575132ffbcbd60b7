// Flags with one way of saying what they take and what is wrong with them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "base/status.h"

namespace hadal {

/// A flag that takes one of `choices`; its help names them.
CLI::Option* AddChoice(CLI::App& verb, const char* name, std::string& value,
                       std::initializer_list<const char*> choices, const char* text);

/// Refuses what is not a number from `least` to `most`, in a sentence.
CLI::Validator NumberWithin(double least, double most);
/// The same for whole numbers.
CLI::Validator IntegerWithin(int64_t least, int64_t most);

/// A flag that takes a number from `least` to `most`. `T` is a number or a std::optional of one.
template <typename T>
CLI::Option* AddNumber(CLI::App& verb, const char* name, T& value, double least, double most,
                       const char* text) {
  CLI::Option* option = verb.add_option(name, value, text)->type_name("N");
  if constexpr (std::is_arithmetic_v<T>) option->capture_default_str();
  if constexpr (std::is_integral_v<T> || std::is_same_v<T, std::optional<int64_t>>)
    return option->check(IntegerWithin(static_cast<int64_t>(least), static_cast<int64_t>(most)));
  return option->check(NumberWithin(least, most));
}

/// Token ids as text: separated by commas or white space, in brackets or not. "@FILE" reads the text from a
/// file. kInvalidArgument names what is no id.
Result<std::vector<int32_t>> ParseIds(const std::string& text);

}  // namespace hadal
