#include "text/jinja/methods.h"

#include <algorithm>
#include <array>

#include "text/jinja/arguments.h"
#include "text/jinja/operators.h"
#include "text/jinja/string_methods.h"

namespace hadal::jinja {
namespace {

Result<Value> Items(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("items()", arguments, {}));
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.as_dict().entries()) {
    ASSIGN_OR_RETURN(Value pair, runtime.List({key, value}, SequenceKind::kTuple));
    pairs.push_back(std::move(pair));
  }
  return runtime.View(std::move(pairs), "dict_items");
}

Result<Value> Keys(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("keys()", arguments, {}));
  std::vector<Value> keys;
  for (const auto& entry : self.as_dict().entries()) keys.push_back(entry.key);
  return runtime.View(std::move(keys), "dict_keys");
}

Result<Value> Values(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("values()", arguments, {}));
  std::vector<Value> values;
  for (const auto& entry : self.as_dict().entries()) values.push_back(entry.value);
  return runtime.View(std::move(values), "dict_values");
}

Result<Value> Get(Runtime&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("get()", arguments, {"key", "default"}, 1));
  if (bound[0]->is(Kind::kSequence) || bound[0]->is(Kind::kDict))
    return InvalidArgument("a {} cannot be a key of a dict", bound[0]->type_name());
  if (const Value* found = self.as_dict().Find(*bound[0])) return *found;
  return bound[1] ? *bound[1] : Value::None();
}

Result<Value> CopyDict(Runtime&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("copy()", arguments, {}));
  return self;
}

Result<Value> CountItem(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("count()", arguments, {"value"}, 1));
  int64_t count = 0;
  for (const Value& item : self.as_sequence().items) {
    ASSIGN_OR_RETURN(const bool same, Equal(runtime, item, *bound[0]));
    count += same;
  }
  return Value::Int(count);
}

Result<Value> IndexItem(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("index()", arguments, {"value"}, 1));
  const auto& items = self.as_sequence().items;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool same, Equal(runtime, items[i], *bound[0]));
    if (same) return Value::Int(static_cast<int64_t>(i));
  }
  return InvalidArgument("index(): the value is not in the list");
}

constexpr std::array kDictMethods = {Method{"items", Items}, Method{"keys", Keys}, Method{"values", Values},
                                     Method{"get", Get}, Method{"copy", CopyDict}};
constexpr std::array kListMethods = {Method{"count", CountItem}, Method{"index", IndexItem}};

constexpr std::array<std::string_view, 5> kDictChanges = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "clear",  "extend",  "insert",
                                                          "pop",    "remove", "reverse", "sort"};

bool IsList(const Value& value, SequenceKind most) {
  return value.is(Kind::kSequence) && value.as_sequence().kind <= most;
}

template <typename Table>
const Method* FindIn(const Table& table, std::string_view name) {
  const auto it = std::find_if(table.begin(), table.end(), [&](const Method& m) { return m.name == name; });
  return it == table.end() ? nullptr : &*it;
}

template <typename Names>
bool Has(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<const Method*> Lookup(const Value& receiver, std::string_view name) {
  if (receiver.is_string()) return FindStringMethod(name);
  if (receiver.is(Kind::kDict)) {
    if (Has(kDictChanges, name))
      return InvalidArgument("'{}' would change a dict, which templates may not do", name);
    if (name == "fromkeys") return Unsupported("dict.fromkeys is not supported");
    return FindIn(kDictMethods, name);
  }
  if (IsList(receiver, SequenceKind::kTuple)) {
    if (IsList(receiver, SequenceKind::kList)) {
      if (Has(kListChanges, name))
        return InvalidArgument(
            "'{}' would change a list, which templates may not do; use '+' to make a new one", name);
      if (name == "copy") return Unsupported("list.copy is not supported; use [:]");
    }
    return FindIn(kListMethods, name);
  }
  return nullptr;
}

/// `message.split` that is not called where it stands.
class BoundMethod : public Object {
 public:
  BoundMethod(Value receiver, const Method* method) : receiver_(std::move(receiver)), method_(method) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Result<Value> Call(Runtime& runtime, const Arguments& arguments) override {
    return method_->function(runtime, receiver_, arguments);
  }

 private:
  Value receiver_;
  const Method* method_;
};

}  // namespace

Result<std::optional<Value>> FindMethod(Runtime& runtime, const Value& receiver, std::string_view name) {
  ASSIGN_OR_RETURN(const Method* method, Lookup(receiver, name));
  if (!method) return std::nullopt;
  ASSIGN_OR_RETURN(BoundMethod * bound, runtime.Keep(std::make_unique<BoundMethod>(receiver, method)));
  return Value::Of(bound);
}

Result<std::optional<Value>> CallMethod(Runtime& runtime, const Value& receiver, std::string_view name,
                                        const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Method* method, Lookup(receiver, name));
  if (!method) return std::nullopt;
  ASSIGN_OR_RETURN(Value result, method->function(runtime, receiver, arguments));
  return result;
}

}  // namespace hadal::jinja
