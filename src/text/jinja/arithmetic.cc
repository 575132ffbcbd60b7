// Binary and Negative: + - * / // % ** with Python's rules.
#include <cmath>

#include "text/jinja/operators.h"

namespace hadal::jinja {
namespace {

tl::unexpected<Error> WrongTypes(std::string_view op, const Value& a, const Value& b) {
  for (const Value* operand : {&a, &b})
    if (operand->is_undefined()) return InvalidArgument("{}", operand->why());
  if (op == "+" && (a.is_string() || b.is_string()))
    return InvalidArgument(
        "cannot add {} and {}: only str and str can be joined with '+'; convert the other with "
        "|string or |tojson",
        a.type_name(), b.type_name());
  return InvalidArgument("'{}' is not defined between {} and {}", op, a.type_name(), b.type_name());
}

tl::unexpected<Error> Overflow(std::string_view op) {
  return InvalidArgument("the result of '{}' does not fit into 64 bits", op);
}

Result<Value> Repeat(Runtime& runtime, const Value& value, int64_t times) {
  const size_t n = static_cast<size_t>(std::max<int64_t>(times, 0));
  size_t total = 0;
  if (value.is_string()) {
    const std::string& text = value.as_string();
    if (__builtin_mul_overflow(text.size(), n, &total)) return Overflow("*");
    RETURN_IF_ERROR(runtime.MayHold(total));
    RETURN_IF_ERROR(runtime.SpendText(total));
    if (text.empty()) return value;
    std::string out;
    out.reserve(total);
    for (size_t i = 0; i < n; ++i) out += text;
    return Value::String(std::move(out));
  }
  const Sequence& sequence = value.as_sequence();
  if (__builtin_mul_overflow(sequence.items.size(), n, &total)) return Overflow("*");
  RETURN_IF_ERROR(runtime.MayHold(total));
  RETURN_IF_ERROR(runtime.Spend(static_cast<int64_t>(total)));
  std::vector<Value> items;
  for (size_t i = 0; i < n && !sequence.items.empty(); ++i)
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  return runtime.List(std::move(items), sequence.kind);
}

bool IsConcatenable(const Value& value) {
  return value.is(Kind::kSequence) && value.as_sequence().kind <= SequenceKind::kTuple;
}

Result<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return InvalidArgument("0 cannot be raised to a negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return Overflow("**");
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return Overflow("**");
  }
  return Value::Int(result);
}

Result<Value> IntegerBinary(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+")
    return __builtin_add_overflow(a, b, &result) ? Result<Value>(Overflow(op)) : Value::Int(result);
  if (op == "-")
    return __builtin_sub_overflow(a, b, &result) ? Result<Value>(Overflow(op)) : Value::Int(result);
  if (op == "*")
    return __builtin_mul_overflow(a, b, &result) ? Result<Value>(Overflow(op)) : Value::Int(result);
  if (op == "**") return IntegerPower(a, b);
  if (b == 0) return InvalidArgument("division by zero");
  if (op == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) return op == "%" ? Value::Int(0) : IntegerBinary("-", 0, a);  // INT64_MIN / -1 traps
  const int64_t remainder = a % b;
  const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);  // Python rounds towards minus infinity
  if (op == "//") return Value::Int(a / b - (adjust ? 1 : 0));
  return Value::Int(adjust ? remainder + b : remainder);
}

Result<Value> FloatBinary(std::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) return InvalidArgument("0 cannot be raised to a negative power");
    if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
      return InvalidArgument("a negative number cannot be raised to a fraction");
    const double result = std::pow(a, b);
    if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
      return InvalidArgument("the result of '**' is too large");
    return Value::Float(result);
  }
  if (b == 0) return InvalidArgument("division by zero");
  if (op == "/") return Value::Float(a / b);
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0) {
    if ((b < 0) != (remainder < 0)) remainder += b, quotient -= 1;
  } else {
    remainder = std::copysign(0.0, b);
  }
  if (op == "%") return Value::Float(remainder);
  const double floor = std::floor(quotient);
  return Value::Float(quotient == 0 ? std::copysign(0.0, a / b) : quotient - floor > 0.5 ? floor + 1 : floor);
}

}  // namespace

Result<Value> Binary(Runtime& runtime, std::string_view op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const auto x = a.integer(), y = b.integer();
    if (x && y) return IntegerBinary(op, *x, *y);
    return FloatBinary(op, *a.number(), *b.number());
  }
  if (op == "+") {
    if (a.is_string() && b.is_string()) {
      RETURN_IF_ERROR(runtime.MayHold(a.as_string().size() + b.as_string().size()));
      return runtime.String(a.as_string() + b.as_string());
    }
    if (IsConcatenable(a) && IsConcatenable(b) && a.as_sequence().kind == b.as_sequence().kind) {
      RETURN_IF_ERROR(runtime.Spend(static_cast<int64_t>(a.as_sequence().items.size())));
      std::vector<Value> items = a.as_sequence().items;
      items.insert(items.end(), b.as_sequence().items.begin(), b.as_sequence().items.end());
      return runtime.List(std::move(items), a.as_sequence().kind);
    }
  }
  if (op == "*") {
    if ((a.is_string() || IsConcatenable(a)) && b.integer()) return Repeat(runtime, a, *b.integer());
    if ((b.is_string() || IsConcatenable(b)) && a.integer()) return Repeat(runtime, b, *a.integer());
  }
  if (op == "%" && a.is_string())
    return Unsupported("formatting a str with '%' is not supported; join with '~'");
  return WrongTypes(op, a, b);
}

Result<Value> Negative(const Value& value) {
  if (auto i = value.integer()) return IntegerBinary("-", 0, *i);
  if (value.is(Kind::kFloat)) return Value::Float(-value.as_float());
  if (value.is_undefined()) return InvalidArgument("{}", value.why());
  return InvalidArgument("a {} cannot be negated", value.type_name());
}

}  // namespace hadal::jinja
