#include "text/jinja/text_form.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/unicode.h"

namespace hadal::jinja {
namespace {

void AppendHexEscape(std::string& out, char32_t c) {
  if (c < 0x100)
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  else if (c < 0x10000)
    out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  else
    out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
}

std::string QuotedText(const std::string& text) {
  const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0, bytes = 0; i < text.size(); i += bytes) {
    bytes = CharacterBytes(static_cast<unsigned char>(text[i]));
    const std::string_view c = std::string_view(text).substr(i, bytes);
    if (c[0] == quote || c[0] == '\\')
      out += '\\', out += c;
    else if (c == "\n")
      out += "\\n";
    else if (c == "\r")
      out += "\\r";
    else if (c == "\t")
      out += "\\t";
    else if (IsPrintable(c))
      out += c;
    else
      AppendHexEscape(out, CodePointAt(c, 0));
  }
  return out + quote;
}

Status AppendRepr(Runtime& runtime, const Value& value, std::string& out);

Status AppendSequence(Runtime& runtime, const Sequence& sequence, std::string& out) {
  const bool tuple = sequence.kind == SequenceKind::kTuple;
  if (sequence.kind == SequenceKind::kGenerator)
    return InvalidArgument("a generator cannot be printed; put |list after the filter that made it");
  if (sequence.kind == SequenceKind::kView) (out += sequence.view) += '(';
  out += tuple ? '(' : '[';
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    if (i) out += ", ";
    RETURN_IF_ERROR(AppendRepr(runtime, sequence.items[i], out));
  }
  if (tuple && sequence.items.size() == 1) out += ',';
  out += tuple ? ')' : ']';
  if (sequence.kind == SequenceKind::kView) out += ')';
  return {};
}

Status AppendRepr(Runtime& runtime, const Value& value, std::string& out) {
  RETURN_IF_ERROR(runtime.MayHold(out.size()));
  RETURN_IF_ERROR(runtime.Spend(1));
  switch (value.kind()) {
    case Kind::kUndefined: out += "Undefined"; return {};
    case Kind::kNone: out += "None"; return {};
    case Kind::kBool: out += value.as_bool() ? "True" : "False"; return {};
    case Kind::kInt: out += fmt::format("{}", *value.integer()); return {};
    case Kind::kFloat: out += FloatText(value.as_float()); return {};
    case Kind::kString:
      RETURN_IF_ERROR(runtime.SpendText(value.as_string().size()));
      out += QuotedText(value.as_string());
      return {};
    case Kind::kSequence: return AppendSequence(runtime, value.as_sequence(), out);
    case Kind::kObject: return InvalidArgument("a {} cannot be printed", value.type_name());
    case Kind::kDict: break;
  }
  out += '{';
  bool first = true;
  for (const auto& [key, item] : value.as_dict().entries()) {
    if (!std::exchange(first, false)) out += ", ";
    RETURN_IF_ERROR(AppendRepr(runtime, key, out));
    out += ": ";
    RETURN_IF_ERROR(AppendRepr(runtime, item, out));
  }
  out += '}';
  return {};
}

void AppendJsonString(std::string& out, std::string_view text, bool ascii) {
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    const size_t bytes = CharacterBytes(byte);
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\b')
      out += "\\b";
    else if (c == '\f')
      out += "\\f";
    else if (byte < 0x20)
      out += fmt::format("\\u{:04x}", byte);
    else if (byte < 0x80 || !ascii)
      out += text.substr(i, bytes);
    else {
      const auto point = static_cast<uint32_t>(CodePointAt(text, i));
      if (point < 0x10000)
        out += fmt::format("\\u{:04x}", point);
      else
        out += fmt::format("\\u{:04x}\\u{:04x}", 0xD7C0 + (point >> 10), 0xDC00 + (point & 0x3FF));
    }
    i += bytes;
  }
  out += '"';
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return FloatText(value);
}

/// Writes one document; `level` counts the containers around what is being written.
class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  Status Write(const Value& value, size_t level) {
    RETURN_IF_ERROR(runtime_.MayHold(out.size()));
    RETURN_IF_ERROR(runtime_.Spend(1));
    switch (value.kind()) {
      case Kind::kNone: out += "null"; return {};
      case Kind::kBool: out += value.as_bool() ? "true" : "false"; return {};
      case Kind::kInt: out += fmt::format("{}", *value.integer()); return {};
      case Kind::kFloat: out += JsonFloat(value.as_float()); return {};
      case Kind::kString:
        RETURN_IF_ERROR(runtime_.SpendText(value.as_string().size()));
        AppendJsonString(out, value.as_string(), style_.ascii);
        return {};
      case Kind::kDict: return WriteDict(value.as_dict(), level);
      case Kind::kSequence:
        if (value.as_sequence().kind <= SequenceKind::kTuple) return WriteItems(value.as_sequence(), level);
        break;
      case Kind::kUndefined: return InvalidArgument("tojson: {}", value.why());
      case Kind::kObject: break;
    }
    return InvalidArgument("tojson: a {} cannot be written as JSON", value.type_name());
  }

  std::string out;

 private:
  Status WriteItems(const Sequence& sequence, size_t level) {
    if (sequence.items.empty()) return out += "[]", Status();
    out += '[';
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      if (i) out += style_.item_separator;
      RETURN_IF_ERROR(Break(level + 1));
      RETURN_IF_ERROR(Write(sequence.items[i], level + 1));
    }
    RETURN_IF_ERROR(Break(level));
    out += ']';
    return {};
  }

  Status WriteDict(const Dict& dict, size_t level) {
    if (dict.size() == 0) return out += "{}", Status();
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) RETURN_IF_ERROR(Sort(entries));
    out += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i) out += style_.item_separator;
      RETURN_IF_ERROR(Break(level + 1));
      const Value& key = entries[i]->key;
      if (key.is_string()) {
        RETURN_IF_ERROR(Write(key, level));
      } else {  // numbers, booleans and None become strings
        out += '"';
        RETURN_IF_ERROR(Write(key, level));
        out += '"';
      }
      out += style_.key_separator;
      RETURN_IF_ERROR(Write(entries[i]->value, level + 1));
    }
    RETURN_IF_ERROR(Break(level));
    out += '}';
    return {};
  }

  Status Sort(std::vector<const Dict::Entry*>& entries) {
    RETURN_IF_ERROR(runtime_.Spend(static_cast<int64_t>(entries.size()) * 8));
    for (const auto* entry : entries)
      if (!entry->key.is_string())
        return InvalidArgument("tojson: sort_keys needs keys of type str, one is a {}",
                               entry->key.type_name());
    std::sort(entries.begin(), entries.end(),
              [](const auto* a, const auto* b) { return a->key.as_string() < b->key.as_string(); });
    return {};
  }

  Status Break(size_t level) {
    if (!style_.indent) return {};
    const size_t bytes = level * style_.indent->size();
    RETURN_IF_ERROR(runtime_.MayHold(out.size() + bytes));
    RETURN_IF_ERROR(runtime_.SpendText(bytes));
    out += '\n';
    for (size_t i = 0; i < level; ++i) out += *style_.indent;
    return {};
  }

  Runtime& runtime_;
  const JsonStyle& style_;
};

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto scientific = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(scientific.ptr - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);  // the same form as Python's: 1e+16, 1.5e-07
  char fixed[64];
  const auto end = std::to_chars(fixed, fixed + sizeof fixed, value, std::chars_format::fixed);
  std::string out(fixed, end.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

Result<std::string> Str(Runtime& runtime, const Value& value) {
  if (value.is_undefined()) return std::string();
  if (value.is_string()) return value.as_string();
  return Repr(runtime, value);
}

Result<std::string> Repr(Runtime& runtime, const Value& value) {
  std::string out;
  RETURN_IF_ERROR(AppendRepr(runtime, value, out));
  RETURN_IF_ERROR(runtime.MayHold(out.size()));
  return out;
}

Result<std::string> ToJson(Runtime& runtime, const Value& value, const JsonStyle& style) {
  JsonWriter writer(runtime, style);
  RETURN_IF_ERROR(writer.Write(value, 0));
  RETURN_IF_ERROR(runtime.MayHold(writer.out.size()));
  return std::move(writer.out);
}

}  // namespace hadal::jinja
