// What one rendering owns and may spend: steps, bytes, objects and the clock. Every operation that makes a
// value goes through here, so that no template and no message can take unbounded time or memory.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/jinja/value.h"

namespace hadal::jinja {

struct Limits {
  int64_t steps = 10'000'000;            // evaluated nodes, visited items, and 64-byte pieces of text
  size_t text_bytes = size_t{64} << 20;  // the output, and any single string
  int depth = 500;                       // nested evaluation, macro calls included
  int64_t range = 100'000;               // items of one range(), as in Jinja's sandbox
};

/// Arguments of a call, evaluated: `f(a, b, name=c)`.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Runtime;

/// A value with identity: namespace, macro, loop, function, bound method.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;
  /// The attribute, or nothing if there is none of that name.
  virtual Result<std::optional<Value>> Attribute(Runtime&, std::string_view) { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Result<Value> Call(Runtime& runtime, const Arguments& arguments);
};

class Runtime {
 public:
  explicit Runtime(Limits limits, std::function<std::time_t()> now);

  const Limits& limits() const { return limits_; }
  std::time_t now() const { return now_(); }

  /// kResourceExhausted once the steps of this rendering are used up.
  Status Spend(int64_t steps);
  /// Pays for reading or writing `bytes` of text.
  Status SpendText(size_t bytes) { return Spend(1 + static_cast<int64_t>(bytes / 64)); }
  /// Tells whether a string of `bytes` may be made, before it is made.
  Status MayHold(size_t bytes) const;

  Result<Value> String(std::string text);
  Result<Value> List(std::vector<Value> items, SequenceKind kind = SequenceKind::kList);
  Result<Value> View(std::vector<Value> items, std::string_view name);
  Result<Value> Make(Dict dict);
  /// Keeps `object` until the rendering ends.
  template <typename T>
  Result<T*> Keep(std::unique_ptr<T> object) {
    RETURN_IF_ERROR(Spend(16));
    T* raw = object.get();
    objects_.push_back(std::move(object));
    return raw;
  }

  /// Counts one level of nested evaluation for as long as it lives.
  class Level {
   public:
    explicit Level(Runtime& runtime) : runtime_(runtime) { ++runtime_.depth_; }
    ~Level() { --runtime_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    bool too_deep() const { return runtime_.depth_ > runtime_.limits_.depth; }

   private:
    Runtime& runtime_;
  };

 private:
  Limits limits_;
  std::function<std::time_t()> now_;
  int64_t steps_left_;
  int depth_ = 0;
  std::vector<std::unique_ptr<Object>> objects_;
};

}  // namespace hadal::jinja
