#include "text/jinja/predicates.h"

#include <algorithm>
#include <vector>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_form.h"
#include "text/jinja/unicode.h"

namespace hadal::jinja {
namespace {

bool Defined(const Value& v) { return !v.is_undefined(); }
bool IsUndefined(const Value& v) { return v.is_undefined(); }
bool IsNone(const Value& v) { return v.is_none(); }
bool IsString(const Value& v) { return v.is_string(); }
bool IsMapping(const Value& v) { return v.is(Kind::kDict); }
bool IsNumber(const Value& v) { return v.is_number(); }
bool IsInteger(const Value& v) { return v.is(Kind::kInt); }
bool IsFloat(const Value& v) { return v.is(Kind::kFloat); }
bool IsBoolean(const Value& v) { return v.is(Kind::kBool); }
bool IsTrue(const Value& v) { return v.is(Kind::kBool) && v.as_bool(); }
bool IsFalse(const Value& v) { return v.is(Kind::kBool) && !v.as_bool(); }
bool IsCallable(const Value& v) { return v.is(Kind::kObject) && v.as_object()->callable(); }
/// What has a length and subscripts; undefined passes, as in Jinja2.
bool IsSequence(const Value& v) {
  if (v.is(Kind::kSequence)) return v.as_sequence().kind <= SequenceKind::kTuple;
  return v.is_string() || v.is(Kind::kDict) || v.is_undefined();
}
bool IsIterable(const Value& v) { return v.is(Kind::kSequence) || IsSequence(v); }

template <bool (*kFunction)(const Value&)>
Result<bool> Plain(Runtime&, const Value& subject, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("the test", arguments, {}));
  return kFunction(subject);
}

template <const char* kOperator>
Result<bool> Relation(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("the test", arguments, {"other"}, 1));
  return Compare(runtime, kOperator, subject, *bound[0]);
}
constexpr char kEq[] = "==", kNe[] = "!=", kLt[] = "<", kLe[] = "<=", kGt[] = ">", kGe[] = ">=", kIn[] = "in";

Result<bool> Divisible(Runtime& runtime, const Value& subject, const Value& by) {
  ASSIGN_OR_RETURN(const Value remainder, Binary(runtime, "%", subject, by));
  return Equal(runtime, remainder, Value::Int(0));
}

Result<bool> Even(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("even", arguments, {}));
  return Divisible(runtime, subject, Value::Int(2));
}

Result<bool> Odd(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("odd", arguments, {}));
  ASSIGN_OR_RETURN(const Value remainder, Binary(runtime, "%", subject, Value::Int(2)));
  return Equal(runtime, remainder, Value::Int(1));
}

Result<bool> DivisibleBy(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("divisibleby", arguments, {"num"}, 1));
  return Divisible(runtime, subject, *bound[0]);
}

Result<bool> HasCase(Runtime& runtime, const Value& subject, std::string (*convert)(std::string_view),
                     std::string (*other)(std::string_view)) {
  ASSIGN_OR_RETURN(const std::string text, Str(runtime, subject));
  RETURN_IF_ERROR(runtime.SpendText(text.size() * 32));
  return convert(text) == text && other(text) != text;
}
Result<bool> Lower(Runtime& runtime, const Value& subject, const Arguments&) {
  return HasCase(runtime, subject, ToLower, ToUpper);
}
Result<bool> Upper(Runtime& runtime, const Value& subject, const Arguments&) {
  return HasCase(runtime, subject, ToUpper, ToLower);
}

Result<bool> IsFilter(Runtime&, const Value& subject, const Arguments&) {
  return subject.is_string() && FindFilter(subject.as_string()) != nullptr;
}

/// Python's `is`, for the values of which there is one only.
Result<bool> SameAs(Runtime&, const Value& subject, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("sameas", arguments, {"other"}, 1));
  const Value& other = *bound[0];
  auto single = [](const Value& v) { return v.is_none() || v.is(Kind::kBool); };
  if (!single(subject) && !single(other))
    return Unsupported("sameas is supported with none, true and false only");
  return subject.kind() == other.kind() && subject.truth() == other.truth();
}

const std::vector<Predicate>& Predicates() {
  static const std::vector<Predicate> kPredicates = {
      {"!=", Relation<kNe>},
      {"<", Relation<kLt>},
      {"<=", Relation<kLe>},
      {"==", Relation<kEq>},
      {">", Relation<kGt>},
      {">=", Relation<kGe>},
      {"boolean", Plain<IsBoolean>},
      {"callable", Plain<IsCallable>},
      {"defined", Plain<Defined>},
      {"divisibleby", DivisibleBy},
      {"eq", Relation<kEq>},
      {"equalto", Relation<kEq>},
      {"even", Even},
      {"false", Plain<IsFalse>},
      {"filter", IsFilter},
      {"float", Plain<IsFloat>},
      {"ge", Relation<kGe>},
      {"greaterthan", Relation<kGt>},
      {"gt", Relation<kGt>},
      {"in", Relation<kIn>},
      {"integer", Plain<IsInteger>},
      {"iterable", Plain<IsIterable>},
      {"le", Relation<kLe>},
      {"lessthan", Relation<kLt>},
      {"lower", Lower},
      {"lt", Relation<kLt>},
      {"mapping", Plain<IsMapping>},
      {"ne", Relation<kNe>},
      {"none", Plain<IsNone>},
      {"number", Plain<IsNumber>},
      {"odd", Odd},
      {"sameas", SameAs},
      {"sequence", Plain<IsSequence>},
      {"string", Plain<IsString>},
      {"true", Plain<IsTrue>},
      {"undefined", Plain<IsUndefined>},
      {"upper", Upper},
  };
  return kPredicates;
}

}  // namespace

const Predicate* FindPredicate(std::string_view name) {
  const auto& all = Predicates();
  const auto it = std::find_if(all.begin(), all.end(), [&](const Predicate& p) { return p.name == name; });
  return it == all.end() ? nullptr : &*it;
}

std::string PredicateNames() {
  std::vector<std::string_view> names;
  for (const Predicate& predicate : Predicates())
    if (predicate.name[0] >= 'a') names.push_back(predicate.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace hadal::jinja
