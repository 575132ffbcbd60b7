#include "text/jinja/value.h"

#include <algorithm>

#include "text/jinja/runtime.h"

namespace hadal::jinja {

Value Value::Undefined(std::string why) {
  return Value(Data(std::in_place_index<0>, std::make_shared<const std::string>(std::move(why))));
}

Value Value::String(std::string text) {
  return Value(Data(std::in_place_index<5>, std::make_shared<const std::string>(std::move(text))));
}

std::optional<int64_t> Value::integer() const {
  if (is(Kind::kBool)) return as_bool() ? 1 : 0;
  if (is(Kind::kInt)) return std::get<3>(data_);
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (is(Kind::kFloat)) return as_float();
  if (auto i = integer()) return static_cast<double>(*i);
  return std::nullopt;
}

std::string Value::why() const {
  const auto& reason = std::get<0>(data_);
  return reason ? *reason : "the value is undefined";
}

int Value::depth() const {
  if (is(Kind::kSequence)) return as_sequence().depth;
  if (is(Kind::kDict)) return as_dict().depth();
  return 0;
}

bool Value::truth() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool: return as_bool();
    case Kind::kInt: return std::get<3>(data_) != 0;
    case Kind::kFloat: return as_float() != 0;
    case Kind::kString: return !as_string().empty();
    case Kind::kSequence:
      return as_sequence().kind == SequenceKind::kGenerator || !as_sequence().items.empty();
    case Kind::kDict: return as_dict().size() > 0;
    case Kind::kObject: return true;
  }
  return false;
}

std::string_view Value::type_name() const {
  switch (kind()) {
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return "str";
    case Kind::kDict: return "dict";
    case Kind::kObject: return as_object()->type_name();
    case Kind::kSequence: break;
  }
  switch (as_sequence().kind) {
    case SequenceKind::kList: return "list";
    case SequenceKind::kTuple: return "tuple";
    case SequenceKind::kView: return as_sequence().view;
    case SequenceKind::kGenerator: return "generator";
  }
  return "list";
}

bool Dict::Hashable(const Value& key) {
  if (auto number = key.number()) return *number == *number;
  return key.is_string() || key.is_none();
}

void Dict::Set(Value key, Value value) {
  depth_ = std::max(depth_, 1 + value.depth());
  if (auto index = IndexOf(key)) {
    entries_[*index].value = std::move(value);
    return;
  }
  if (key.is_string()) {
    strings_.emplace(key.as_string(), entries_.size());
  } else if (auto number = key.number()) {
    numbers_.emplace(*number, entries_.size());
  } else {
    none_ = entries_.size();
  }
  entries_.push_back({std::move(key), std::move(value)});
}

const Value* Dict::Find(std::string_view key) const {
  auto it = strings_.find(key);
  return it == strings_.end() ? nullptr : &entries_[it->second].value;
}

const Value* Dict::Find(const Value& key) const {
  auto index = IndexOf(key);
  return index ? &entries_[*index].value : nullptr;
}

std::optional<size_t> Dict::IndexOf(const Value& key) const {
  if (key.is_string()) {
    auto it = strings_.find(key.as_string());
    return it == strings_.end() ? std::nullopt : std::optional(it->second);
  }
  if (auto number = key.number()) {
    auto it = Hashable(key) ? numbers_.find(*number) : numbers_.end();
    return it == numbers_.end() ? std::nullopt : std::optional(it->second);
  }
  return key.is_none() ? none_ : std::nullopt;
}

}  // namespace hadal::jinja
