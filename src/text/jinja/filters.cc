#include "text/jinja/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/operators.h"
#include "text/jinja/string_methods.h"
#include "text/jinja/text_form.h"
#include "text/jinja/unicode.h"

namespace hadal::jinja {
namespace {

Result<Value> ToJsonFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  // Hugging Face's filter, not Jinja2's: json.dumps without escaping for HTML.
  ASSIGN_OR_RETURN(const auto bound,
                   Bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style{.ascii = TruthOr(bound[0], false), .sort_keys = TruthOr(bound[3], false), .indent = {}};
  if (bound[1] && bound[1]->is_string()) {
    style.indent = bound[1]->as_string();
  } else if (bound[1] && !bound[1]->is_none()) {
    ASSIGN_OR_RETURN(const int64_t width, IntegerOr("tojson", bound[1], 0));
    if (width > 1000) return ResourceExhausted("tojson: an indent of {} is more than 1000", width);
    style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (bound[2] && !bound[2]->is_none()) {
    const bool pair = bound[2]->is(Kind::kSequence) && bound[2]->as_sequence().items.size() == 2;
    if (!pair) return InvalidArgument("tojson: separators must be two strings");
    ASSIGN_OR_RETURN(style.item_separator, StringOr("tojson", &bound[2]->as_sequence().items[0], ""));
    ASSIGN_OR_RETURN(style.key_separator, StringOr("tojson", &bound[2]->as_sequence().items[1], ""));
  }
  ASSIGN_OR_RETURN(std::string text, ToJson(runtime, input, style));
  return runtime.String(std::move(text));
}

Result<Value> Trim(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("trim", arguments, {"chars"}));
  ASSIGN_OR_RETURN(const std::string text, Str(runtime, input));
  if (!bound[0] || bound[0]->is_none()) return runtime.String(std::string(Strip(text, nullptr, true, true)));
  ASSIGN_OR_RETURN(const std::string characters, StringOr("trim", bound[0], ""));
  return runtime.String(std::string(Strip(text, &characters, true, true)));
}

/// The title filter starts a word after spaces, '-' and opening brackets only, unlike str.title.
std::string TitleWords(std::string_view text) {
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    size_t end = at;
    auto separates = [&](size_t i) {
      return IsSpace(CodePointAt(text, i)) ||
             std::string_view("-({[<").find(text[i]) != std::string_view::npos;
    };
    const bool separator = separates(at);
    while (end < text.size() && separates(end) == separator)
      end = std::min(end + CharacterBytes(static_cast<unsigned char>(text[end])), text.size());
    const std::string_view piece = text.substr(at, end - at);
    out += separator ? std::string(piece) : Capitalize(piece);
    at = end;
  }
  return out;
}

template <std::string (*kFunction)(std::string_view)>
Result<Value> Case(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("a change of case", arguments, {}));
  ASSIGN_OR_RETURN(const std::string text, Str(runtime, input));
  RETURN_IF_ERROR(runtime.SpendText(text.size() * 16));
  return runtime.String(kFunction(text));
}

Result<Value> Default(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("default", arguments, {"default_value", "boolean"}));
  const bool replace = input.is_undefined() || (TruthOr(bound[1], false) && !input.truth());
  if (!replace) return input;
  return bound[0] ? *bound[0] : Value::String("");
}

Result<Value> ReplaceFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("replace", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const std::string text, Str(runtime, input));
  ASSIGN_OR_RETURN(const std::string from, Str(runtime, *bound[0]));
  ASSIGN_OR_RETURN(const std::string to, Str(runtime, *bound[1]));
  const Value* count = bound[2] && !bound[2]->is_none() ? bound[2] : nullptr;
  ASSIGN_OR_RETURN(const int64_t most, IntegerOr("replace", count, -1));
  return Replaced(runtime, text, from, to, most);
}

Result<Value> StringFilter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("string", arguments, {}));
  ASSIGN_OR_RETURN(std::string text, Str(runtime, input));
  return runtime.String(std::move(text));
}

/// Text without the underscores that Python allows between digits; unchanged if one stands elsewhere.
std::string WithoutUnderscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    auto digit = [&](size_t k) {
      return k < text.size() && std::isxdigit(static_cast<unsigned char>(text[k]));
    };
    if (text[i] == '_' && i > 0 && digit(i - 1) && digit(i + 1)) continue;
    out += text[i];
  }
  return out;
}

std::optional<int64_t> ReadInteger(std::string_view text, int base) {
  std::string digits = WithoutUnderscores(Strip(text, nullptr, true, true));
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  const std::string prefix = ToLower(digits.substr(0, 2));
  if ((base == 16 && prefix == "0x") || (base == 8 && prefix == "0o") || (base == 2 && prefix == "0b"))
    digits.erase(0, 2);
  if (digits.starts_with('-')) return std::nullopt;
  if (negative) digits.insert(0, 1, '-');
  int64_t value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<double> ReadFloat(std::string_view text) {
  std::string digits = WithoutUnderscores(Strip(text, nullptr, true, true));
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.erase(0, 1);
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, value);
  if (read.ptr != end || digits.empty() || digits.find('(') != std::string::npos) return std::nullopt;
  if (read.ec == std::errc::result_out_of_range) {  // Python gives inf or 0 here
    const bool negative = digits[0] == '-';
    const bool tiny = digits.find("e-") != std::string::npos || digits.find("E-") != std::string::npos;
    return tiny ? (negative ? -0.0 : 0.0) : (negative ? -HUGE_VAL : HUGE_VAL);
  }
  return read.ec == std::errc() ? std::optional(value) : std::nullopt;
}

Result<Value> Int(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("int", arguments, {"default", "base"}));
  if (input.is_undefined()) return InvalidArgument("int: {}", input.why());
  const Value fallback = bound[0] ? *bound[0] : Value::Int(0);
  ASSIGN_OR_RETURN(const int64_t base, IntegerOr("int", bound[1], 10));
  if (base < 2 || base > 36) return InvalidArgument("int: base {} is not between 2 and 36", base);
  if (auto i = input.integer()) return Value::Int(*i);
  std::optional<double> real = input.number();
  if (input.is_string()) {
    if (auto i = ReadInteger(input.as_string(), static_cast<int>(base))) return Value::Int(*i);
    real = ReadFloat(input.as_string());
  }
  if (!real || !std::isfinite(*real)) return fallback;
  if (std::fabs(*real) >= 9.2e18)
    return InvalidArgument("int: {} does not fit into 64 bits", FloatText(*real));
  return Value::Int(static_cast<int64_t>(*real));
}

Result<Value> Float(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("float", arguments, {"default"}));
  if (input.is_undefined()) return InvalidArgument("float: {}", input.why());
  const auto real = input.is_string() ? ReadFloat(input.as_string()) : input.number();
  if (real) return Value::Float(*real);
  return bound[0] ? *bound[0] : Value::Float(0);
}

Result<Value> Abs(Runtime&, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("abs", arguments, {}));
  if (auto i = input.integer(); i && *i >= 0) return Value::Int(*i);
  if (input.is(Kind::kFloat)) return Value::Float(std::fabs(input.as_float()));
  return Negative(input);
}

Result<Value> Round(Runtime&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("round", arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const int64_t precision, IntegerOr("round", bound[0], 0));
  ASSIGN_OR_RETURN(const std::string method, StringOr("round", bound[1], "common"));
  const auto value = input.number();
  if (!value) return InvalidArgument("round needs a number, found a {}", input.type_name());
  if (precision < 0 || precision > 300)
    return Unsupported("round: precision {} is not between 0 and 300", precision);
  if (method == "common") {
    if (input.integer()) return Value::Int(*input.integer());
    if (!std::isfinite(*value)) return input;
    // Printing rounds the exact binary value, half to even, as Python's round does.
    return Value::Float(*ReadFloat(fmt::format("{:.{}f}", *value, static_cast<int>(precision))));
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value::Float(std::ceil(*value * scale) / scale);
  if (method == "floor") return Value::Float(std::floor(*value * scale) / scale);
  return InvalidArgument("round: method '{}' is not common, ceil or floor", method);
}

Result<Value> Indent(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("indent", arguments, {"width", "first", "blank"}));
  std::string indentation;
  if (bound[0] && bound[0]->is_string()) {
    indentation = bound[0]->as_string();
  } else {
    ASSIGN_OR_RETURN(const int64_t width, IntegerOr("indent", bound[0], 4));
    if (width > 1000) return ResourceExhausted("indent: a width of {} is more than 1000", width);
    indentation = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const bool first = TruthOr(bound[1], false), blank = TruthOr(bound[2], false);
  if (!input.is_string())  // jinja2 adds a newline to the value, which only a str has room for
    return InvalidArgument("indent needs a str, found a {}", input.type_name());
  RETURN_IF_ERROR(runtime.SpendText(input.as_string().size() * 4));
  const std::string text = input.as_string() + "\n";
  std::string out;
  const auto lines = SplitLines(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i) out += '\n';
    if (i ? (blank || !lines[i].empty()) : first) out += indentation;
    out += lines[i];
    RETURN_IF_ERROR(runtime.MayHold(out.size()));
  }
  return runtime.String(std::move(out));
}

Result<Value> LengthFilter(Runtime&, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("length", arguments, {}));
  ASSIGN_OR_RETURN(const int64_t length, Length(input));
  return Value::Int(length);
}

/// Marks text as free of HTML's special characters, which without autoescape changes nothing.
Result<Value> Safe(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return StringFilter(runtime, input, arguments);
}

}  // namespace

const std::vector<Filter>& ScalarFilters() {
  static const std::vector<Filter> kFilters = {
      {"abs", Abs},
      {"capitalize", Case<Capitalize>},
      {"count", LengthFilter},
      {"d", Default},
      {"default", Default},
      {"float", Float},
      {"indent", Indent},
      {"int", Int},
      {"length", LengthFilter},
      {"lower", Case<ToLower>},
      {"replace", ReplaceFilter},
      {"round", Round},
      {"safe", Safe},
      {"string", StringFilter},
      {"title", Case<TitleWords>},
      {"tojson", ToJsonFilter},
      {"trim", Trim},
      {"upper", Case<ToUpper>},
  };
  return kFilters;
}

const Filter* FindFilter(std::string_view name) {
  for (const auto* table : {&ScalarFilters(), &SequenceFilters()})
    for (const Filter& filter : *table)
      if (filter.name == name) return &filter;
  return nullptr;
}

std::string FilterNames() {
  std::vector<std::string_view> names;
  for (const auto* table : {&ScalarFilters(), &SequenceFilters()})
    for (const Filter& filter : *table) names.push_back(filter.name);
  std::sort(names.begin(), names.end());
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace hadal::jinja
