// Values of the template language: Python's None, bool, int, float, str, list, tuple and dict as Jinja sees
// them.
//
// Values are immutable and cheap to copy (strings and containers are shared), so a parsed template and its
// constants may be used by several threads at once. Objects (namespaces, macros, loops, functions) belong to
// one rendering's Runtime and are only pointed to: a value that holds one must not outlive that Runtime.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace hadal::jinja {

/// Containers nested deeper than this are refused where they are made, which bounds every walk over a value.
inline constexpr int kMaxValueDepth = 500;

class Dict;
class Object;
struct Sequence;

enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kString, kSequence, kDict, kObject };

class Value {
 public:
  Value() = default;  // undefined, without a reason
  /// `why` is the sentence an error gives when the value is used: "'tools' is undefined".
  static Value Undefined(std::string why);
  static Value None() { return Value(Data(std::in_place_index<1>)); }
  static Value Bool(bool b) { return Value(Data(std::in_place_index<2>, b)); }
  static Value Int(int64_t i) { return Value(Data(std::in_place_index<3>, i)); }
  static Value Float(double d) { return Value(Data(std::in_place_index<4>, d)); }
  static Value String(std::string text);
  static Value Of(std::shared_ptr<const Sequence> items) { return Value(Data(std::move(items))); }
  static Value Of(std::shared_ptr<const Dict> dict) { return Value(Data(std::move(dict))); }
  static Value Of(Object* object) { return Value(Data(object)); }

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const { return kind() == k; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_number() const { return is(Kind::kBool) || is(Kind::kInt) || is(Kind::kFloat); }

  bool as_bool() const { return std::get<2>(data_); }
  double as_float() const { return std::get<4>(data_); }
  const std::string& as_string() const { return *std::get<5>(data_); }
  const Sequence& as_sequence() const { return *std::get<6>(data_); }
  const Dict& as_dict() const { return *std::get<7>(data_); }
  Object* as_object() const { return std::get<8>(data_); }
  /// The value of an int, or of a bool as 0 or 1 (a bool is an int in Python); nothing for other kinds.
  std::optional<int64_t> integer() const;
  /// The value of any number as a double; nothing for other kinds.
  std::optional<double> number() const;
  /// Why an undefined value is undefined.
  std::string why() const;

  /// Containers below and including this one; 0 for a scalar.
  int depth() const;
  /// Python's truth: empty strings and containers, zero, None and undefined are false.
  bool truth() const;
  /// Python's name of the type: "str", "NoneType", "dict".
  std::string_view type_name() const;

 private:
  using UndefinedReason = std::shared_ptr<const std::string>;
  using Data =
      std::variant<UndefinedReason, std::monostate, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, Object*>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

enum class SequenceKind {
  kList,
  kTuple,
  kView,       // what dict.keys(), values() and items() give: has a length, cannot be subscripted
  kGenerator,  // what lazy filters give: read once, always true, no length
};

struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  std::vector<Value> items;
  int depth = 1;                // 1 + the deepest item
  std::string_view view = "";   // of a kView: "dict_items"
  mutable size_t consumed = 0;  // of a kGenerator: items already read
};

/// An ordered dictionary: entries stay in the order in which their keys were first set, as in Python.
class Dict {
 public:
  struct Entry {
    Value key, value;
  };

  /// Sets or replaces. The key must be Hashable: a string, a number other than NaN, or None.
  void Set(Value key, Value value);
  /// The value of `key`, or nullptr. 1, 1.0 and True are one key, as in Python.
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

  static bool Hashable(const Value& key);

 private:
  std::optional<size_t> IndexOf(const Value& key) const;

  std::vector<Entry> entries_;
  std::map<std::string, size_t, std::less<>> strings_;  // string key -> entry
  std::map<double, size_t> numbers_;
  std::optional<size_t> none_;
  int depth_ = 1;
};

}  // namespace hadal::jinja
