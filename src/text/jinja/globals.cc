#include "text/jinja/globals.h"

#include <algorithm>
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_form.h"

namespace hadal::jinja {
namespace {

Result<Value> RangeFunction(Runtime& runtime, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("range()", arguments, {"start", "stop", "step"}, 1));
  ASSIGN_OR_RETURN(const int64_t first, IntegerOr("range()", bound[0], 0));
  ASSIGN_OR_RETURN(const int64_t second, IntegerOr("range()", bound[1], 0));
  ASSIGN_OR_RETURN(const int64_t step, IntegerOr("range()", bound[2], 1));
  if (step == 0) return InvalidArgument("range(): the step is 0");
  const int64_t start = bound[1] ? first : 0, stop = bound[1] ? second : first;
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) == runtime.limits().range)
      return ResourceExhausted("range() of more than {} numbers", runtime.limits().range);
    items.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return runtime.List(std::move(items));
}

/// The entries of a dict given as the one positional argument, then the named arguments.
Result<Dict> Gathered(std::string_view name, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1)
    return InvalidArgument("{} takes at most 1 argument without a name, {} are given", name,
                           arguments.positional.size());
  if (!arguments.positional.empty()) {
    if (!arguments.positional[0].is(Kind::kDict))
      return InvalidArgument("{} needs a dict, found a {}", name, arguments.positional[0].type_name());
    dict = arguments.positional[0].as_dict();
  }
  for (const auto& [key, value] : arguments.named) dict.Set(Value::String(key), value);
  return dict;
}

Result<Value> DictFunction(Runtime& runtime, const Arguments& arguments) {
  ASSIGN_OR_RETURN(Dict dict, Gathered("dict()", arguments));
  return runtime.Make(std::move(dict));
}

Result<Value> NamespaceFunction(Runtime& runtime, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Dict dict, Gathered("namespace()", arguments));
  ASSIGN_OR_RETURN(Namespace * made, runtime.Keep(std::make_unique<Namespace>()));
  for (const auto& [key, value] : dict.entries())
    if (key.is_string()) RETURN_IF_ERROR(made->Set(runtime, key.as_string(), value));
  return Value::Of(made);
}

Result<Value> RaiseFunction(Runtime& runtime, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("raise_exception()", arguments, {"message"}, 1));
  ASSIGN_OR_RETURN(const std::string message, Str(runtime, *bound[0]));
  return InvalidArgument("the template refuses: {}", message);
}

Result<Value> TimeFunction(Runtime& runtime, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("strftime_now()", arguments, {"format"}, 1));
  ASSIGN_OR_RETURN(const std::string format, StringOr("strftime_now()", bound[0], ""));
  ASSIGN_OR_RETURN(std::string text, FormatTime(runtime.now(), format));
  return runtime.String(std::move(text));
}

class Function : public Object {
 public:
  using Pointer = Result<Value> (*)(Runtime&, const Arguments&);
  explicit Function(Pointer function) : function_(function) {}
  std::string_view type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Result<Value> Call(Runtime& runtime, const Arguments& arguments) override {
    return function_(runtime, arguments);
  }

 private:
  Pointer function_;
};

constexpr std::array<std::pair<std::string_view, Function::Pointer>, 5> kFunctions = {{
    {"range", RangeFunction},
    {"dict", DictFunction},
    {"namespace", NamespaceFunction},
    {"raise_exception", RaiseFunction},
    {"strftime_now", TimeFunction},
}};

}  // namespace

Result<std::optional<Value>> FindGlobal(Runtime& runtime, std::string_view name) {
  for (const auto& [known, pointer] : kFunctions) {
    if (known != name) continue;
    ASSIGN_OR_RETURN(Function * function, runtime.Keep(std::make_unique<Function>(pointer)));
    return Value::Of(function);
  }
  for (std::string_view outside : {"cycler", "joiner", "lipsum", "self", "caller", "varargs", "kwargs"})
    if (name == outside) return Unsupported("'{}' is not supported in templates", name);
  return std::nullopt;
}

Result<std::optional<Value>> Namespace::Attribute(Runtime& runtime, std::string_view name) {
  RETURN_IF_ERROR(runtime.Spend(1 + static_cast<int64_t>(values_.size() / 16)));
  for (const auto& [key, value] : values_)
    if (key == name) return value;
  return std::nullopt;
}

Status Namespace::Set(Runtime& runtime, std::string_view name, Value value) {
  RETURN_IF_ERROR(runtime.Spend(1 + static_cast<int64_t>(values_.size() / 16)));
  for (auto& [key, old] : values_)
    if (key == name) return old = std::move(value), Status();
  values_.emplace_back(name, std::move(value));
  return {};
}

Result<std::string> FormatTime(std::time_t now, std::string_view format) {
  if (format.size() > 1000)
    return ResourceExhausted("a time format of {} bytes; the limit is 1000", format.size());
  std::string directives = "x";  // an output that is never empty tells strftime's error from an empty text
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      directives += format[i];
      continue;
    }
    const char directive = format[++i];
    if (directive == 'f')
      directives += "000000";  // our clock counts seconds
    else if (directive != 'z' && directive != 'Z')
      (directives += '%') += directive;
  }
  std::tm local{};
  if (!localtime_r(&now, &local)) return Internal("the clock's time {} has no local date", now);
  std::string out(64 * 1024, '\0');
  out.resize(std::strftime(out.data(), out.size(), directives.c_str(), &local));
  if (out.empty()) return InvalidArgument("the time format '{}' gives too long a text", format);
  return out.substr(1);
}

}  // namespace hadal::jinja
