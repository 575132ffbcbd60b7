#include "text/jinja/runtime.h"

#include <algorithm>

namespace hadal::jinja {

Result<Value> Object::Call(Runtime&, const Arguments&) {
  return InvalidArgument("a {} cannot be called", type_name());
}

Runtime::Runtime(Limits limits, std::function<std::time_t()> now)
    : limits_(limits), now_(std::move(now)), steps_left_(limits.steps) {}

Status Runtime::Spend(int64_t steps) {
  steps_left_ -= steps;
  if (steps_left_ < 0)
    return ResourceExhausted(
        "rendering took more than {} steps; shorten the messages or simplify the template", limits_.steps);
  return {};
}

Status Runtime::MayHold(size_t bytes) const {
  if (bytes > limits_.text_bytes)
    return ResourceExhausted("a text of {} bytes is longer than the limit of {} bytes", bytes,
                             limits_.text_bytes);
  return {};
}

Result<Value> Runtime::String(std::string text) {
  RETURN_IF_ERROR(MayHold(text.size()));
  RETURN_IF_ERROR(Spend(4));  // even a short one takes memory
  RETURN_IF_ERROR(SpendText(text.size()));
  return Value::String(std::move(text));
}

Result<Value> Runtime::List(std::vector<Value> items, SequenceKind kind) {
  RETURN_IF_ERROR(Spend(1 + static_cast<int64_t>(items.size())));
  Sequence sequence{.kind = kind, .items = std::move(items)};
  for (const Value& item : sequence.items) sequence.depth = std::max(sequence.depth, 1 + item.depth());
  if (sequence.depth > kMaxValueDepth)
    return ResourceExhausted("a list is nested deeper than {} levels", kMaxValueDepth);
  return Value::Of(std::make_shared<const Sequence>(std::move(sequence)));
}

Result<Value> Runtime::View(std::vector<Value> items, std::string_view name) {
  ASSIGN_OR_RETURN(Value list, List(std::move(items), SequenceKind::kView));
  Sequence view = list.as_sequence();
  view.view = name;
  return Value::Of(std::make_shared<const Sequence>(std::move(view)));
}

Result<Value> Runtime::Make(Dict dict) {
  RETURN_IF_ERROR(Spend(1 + static_cast<int64_t>(dict.size())));
  if (dict.depth() > kMaxValueDepth)
    return ResourceExhausted("a dict is nested deeper than {} levels", kMaxValueDepth);
  return Value::Of(std::make_shared<const Dict>(std::move(dict)));
}

}  // namespace hadal::jinja
