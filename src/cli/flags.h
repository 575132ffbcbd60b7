// Flags with one way of saying what they take and what is wrong with them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "base/status.h"

namespace hadal {

/// A flag that takes one of `choices`; its help names them.
CLI::Option* AddChoice(CLI::App& verb, const char* name, std::string& value,
                       std::initializer_list<const char*> choices, const char* text);

/// Refuses what is not a number from `least` to `most`, in a sentence.
CLI::Validator NumberWithin(double least, double most);

/// A flag that takes a number from `least` to `most`. `T` is a number or a std::optional of one.
template <typename T>
CLI::Option* AddNumber(CLI::App& verb, const char* name, T& value, double least, double most,
                       const char* text) {
  CLI::Option* option = verb.add_option(name, value, text)->check(NumberWithin(least, most))->type_name("N");
  if constexpr (std::is_arithmetic_v<T>) option->capture_default_str();
  return option;
}

/// Takes the flag's value from HADAL_NAME too.
void ReadFromEnvironment(CLI::Option* option);

/// Token ids as text: separated by commas or white space, in brackets or not. "@FILE" reads the text from a
/// file. kInvalidArgument names what is no id.
Result<std::vector<int32_t>> ParseIds(const std::string& text);

}  // namespace hadal
