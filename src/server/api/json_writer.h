// Writes JSON straight into a string: the API writes a small document for every token.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::api {

/// Puts the commas; that brackets match and keys stand in objects is the caller's business. The result is
/// valid UTF-8 whatever the strings hold: invalid parts become U+FFFD.
class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  JsonWriter& Key(std::string_view name);
  JsonWriter& String(std::string_view text);
  JsonWriter& StringOrNull(std::string_view text) { return text.empty() ? Null() : String(text); }
  JsonWriter& Int(int64_t value);
  /// The shortest decimal that reads back as `value`; null if it is not finite.
  JsonWriter& Number(double value);
  JsonWriter& Bool(bool value) { return Literal(value ? "true" : "false"); }
  /// A value that is JSON already.
  JsonWriter& Raw(std::string_view json) { return Literal(json); }
  JsonWriter& Null() { return Literal("null"); }

  std::string Take() { return std::move(out_); }

 private:
  JsonWriter& Begin(char bracket);
  JsonWriter& End(char bracket);
  JsonWriter& Literal(std::string_view text);
  void Separate() {
    if (!first_) out_ += ',';
    first_ = false;
  }

  std::string out_;
  bool first_ = true;  // nothing stands before the next value that a comma must follow
};

}  // namespace hadal::api
