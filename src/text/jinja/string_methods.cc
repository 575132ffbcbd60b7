#include "text/jinja/string_methods.h"

#include <algorithm>
#include <array>
#include <limits>

#include "text/jinja/arguments.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace hadal::jinja {
namespace {

Result<Value> Pieces(Runtime& runtime, const std::vector<std::string_view>& pieces) {
  std::vector<Value> items;
  for (std::string_view piece : pieces) {
    ASSIGN_OR_RETURN(Value item, runtime.String(std::string(piece)));
    items.push_back(std::move(item));
  }
  return runtime.List(std::move(items));
}

std::string_view TrimmedLeft(std::string_view text) { return Strip(text, nullptr, true, false); }
std::string_view TrimmedRight(std::string_view text) { return Strip(text, nullptr, false, true); }

/// Pieces between runs of whitespace; from the left, at most `most` cuts.
std::vector<std::string_view> SplitAtSpace(std::string_view text, size_t most) {
  std::vector<std::string_view> pieces;
  for (text = TrimmedLeft(text); !text.empty(); text = TrimmedLeft(text)) {
    if (pieces.size() == most) return pieces.push_back(text), pieces;
    size_t end = 0;
    while (end < text.size() && !IsSpace(CodePointAt(text, end)))
      end = std::min(end + CharacterBytes(static_cast<unsigned char>(text[end])), text.size());
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return pieces;
}

std::vector<std::string_view> RightSplitAtSpace(std::string_view text, size_t most) {
  std::vector<std::string_view> pieces;
  for (text = TrimmedRight(text); !text.empty(); text = TrimmedRight(text)) {
    if (pieces.size() == most) {
      pieces.push_back(text);
      break;
    }
    size_t begin = 0;  // of the last word
    for (size_t i = 0; i < text.size();) {
      const size_t next = std::min(i + CharacterBytes(static_cast<unsigned char>(text[i])), text.size());
      if (IsSpace(CodePointAt(text, i))) begin = next;
      i = next;
    }
    pieces.push_back(text.substr(begin));
    text = text.substr(0, begin);
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Result<std::vector<std::string_view>> SplitAt(Runtime& runtime, std::string_view text,
                                              std::string_view separator, size_t most, bool right) {
  std::vector<std::string_view> pieces;
  while (pieces.size() < most) {
    RETURN_IF_ERROR(runtime.Spend(1));
    const size_t at = right ? text.rfind(separator) : FindText(text, separator);
    if (at == std::string_view::npos) break;
    const std::string_view rest = text.substr(at + separator.size());
    pieces.push_back(right ? rest : text.substr(0, at));
    text = right ? text.substr(0, at) : rest;
  }
  pieces.push_back(text);
  if (right) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

Result<Value> SplitEither(Runtime& runtime, const Value& self, const Arguments& arguments, bool right) {
  const char* name = right ? "rsplit()" : "split()";
  ASSIGN_OR_RETURN(const auto bound, Bind(name, arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const int64_t most, IntegerOr(name, bound[1], -1));
  const size_t limit = most < 0 ? std::numeric_limits<size_t>::max() : static_cast<size_t>(most);
  const std::string& text = self.as_string();
  RETURN_IF_ERROR(runtime.SpendText(text.size() * 4));
  if (!bound[0] || bound[0]->is_none()) {
    if (right && limit < text.size()) {  // each of its cuts looks through the text that is left
      RETURN_IF_ERROR(runtime.Spend(static_cast<int64_t>(text.size() / 64 * std::min(limit, text.size()))));
      return Pieces(runtime, RightSplitAtSpace(text, limit));
    }
    return Pieces(runtime, SplitAtSpace(text, limit));
  }
  ASSIGN_OR_RETURN(const std::string separator, StringOr(name, bound[0], ""));
  if (separator.empty()) return InvalidArgument("{}: the separator is empty", name);
  ASSIGN_OR_RETURN(const auto pieces, SplitAt(runtime, text, separator, limit, right));
  return Pieces(runtime, pieces);
}

Result<Value> Split(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return SplitEither(runtime, self, arguments, false);
}
Result<Value> RightSplit(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return SplitEither(runtime, self, arguments, true);
}

Result<Value> SplitLinesMethod(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("splitlines()", arguments, {"keepends"}));
  if (TruthOr(bound[0], false)) return Unsupported("splitlines(keepends=true) is not supported");
  return Pieces(runtime, SplitLines(self.as_string()));
}

template <bool kLeft, bool kRight>
Result<Value> StripMethod(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("strip()", arguments, {"chars"}));
  if (!bound[0] || bound[0]->is_none())
    return runtime.String(std::string(Strip(self.as_string(), nullptr, kLeft, kRight)));
  ASSIGN_OR_RETURN(const std::string characters, StringOr("strip()", bound[0], ""));
  return runtime.String(std::string(Strip(self.as_string(), &characters, kLeft, kRight)));
}

template <bool kStart>
Result<Value> Affix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const char* name = kStart ? "startswith()" : "endswith()";
  ASSIGN_OR_RETURN(const auto bound, Bind(name, arguments, {"text"}, 1));
  std::vector<Value> candidates = {*bound[0]};
  if (bound[0]->is(Kind::kSequence) && bound[0]->as_sequence().kind == SequenceKind::kTuple)
    candidates = bound[0]->as_sequence().items;
  RETURN_IF_ERROR(runtime.Spend(static_cast<int64_t>(candidates.size())));
  for (const Value& candidate : candidates) {
    ASSIGN_OR_RETURN(const std::string affix, StringOr(name, &candidate, ""));
    const std::string& text = self.as_string();
    if (kStart ? text.starts_with(affix) : text.ends_with(affix)) return Value::Bool(true);
  }
  return Value::Bool(false);
}

template <bool kStart>
Result<Value> RemoveAffix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const char* name = kStart ? "removeprefix()" : "removesuffix()";
  ASSIGN_OR_RETURN(const auto bound, Bind(name, arguments, {"text"}, 1));
  ASSIGN_OR_RETURN(const std::string affix, StringOr(name, bound[0], ""));
  std::string text = self.as_string();
  if (kStart && text.starts_with(affix)) text.erase(0, affix.size());
  if (!kStart && text.ends_with(affix)) text.resize(text.size() - affix.size());
  return runtime.String(std::move(text));
}

Result<Value> Replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("replace()", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const std::string from, StringOr("replace()", bound[0], ""));
  ASSIGN_OR_RETURN(const std::string to, StringOr("replace()", bound[1], ""));
  ASSIGN_OR_RETURN(const int64_t count, IntegerOr("replace()", bound[2], -1));
  return Replaced(runtime, self.as_string(), from, to, count);
}

template <std::string (*kFunction)(std::string_view)>
Result<Value> Case(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("a change of case", arguments, {}));
  RETURN_IF_ERROR(runtime.SpendText(self.as_string().size() * 16));
  return runtime.String(kFunction(self.as_string()));
}

Result<Value> Join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("join()", arguments, {"iterable"}, 1));
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(runtime, *bound[0]));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_string())
      return InvalidArgument("join(): item {} is a {}, not a str", i, items[i].type_name());
    const size_t added = (i ? self.as_string().size() : 0) + items[i].as_string().size();
    RETURN_IF_ERROR(runtime.MayHold(out.size() + added));
    if (i) out += self.as_string();
    out += items[i].as_string();
  }
  return runtime.String(std::move(out));
}

template <bool kRight, bool kMustExist>
Result<Value> Find(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const char* name = kMustExist ? "index()" : "find()";
  ASSIGN_OR_RETURN(const auto bound, Bind(name, arguments, {"text"}, 1));
  ASSIGN_OR_RETURN(const std::string wanted, StringOr(name, bound[0], ""));
  const std::string& text = self.as_string();
  RETURN_IF_ERROR(runtime.SpendText(text.size()));
  const size_t at = kRight ? text.rfind(wanted) : FindText(text, wanted);
  if (at != std::string::npos)
    return Value::Int(static_cast<int64_t>(CharacterCount(std::string_view(text).substr(0, at))));
  if (kMustExist) return InvalidArgument("index(): the text is not found");
  return Value::Int(-1);
}

Result<Value> Count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("count()", arguments, {"text"}, 1));
  ASSIGN_OR_RETURN(const std::string wanted, StringOr("count()", bound[0], ""));
  const std::string& text = self.as_string();
  RETURN_IF_ERROR(runtime.SpendText(text.size()));
  if (wanted.empty()) return Value::Int(static_cast<int64_t>(CharacterCount(text)) + 1);
  int64_t count = 0;
  for (size_t at = FindText(text, wanted); at != std::string::npos; at = FindText(text, wanted, at + wanted.size()))
    ++count;
  return Value::Int(count);
}

template <bool (*kAccepts)(char32_t)>
Result<Value> All(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("a test of characters", arguments, {}));
  RETURN_IF_ERROR(runtime.SpendText(self.as_string().size()));
  const std::string& text = self.as_string();
  bool all = !text.empty();
  for (size_t i = 0; i < text.size() && all; i += CharacterBytes(static_cast<unsigned char>(text[i])))
    all = kAccepts(CodePointAt(text, i));
  return Value::Bool(all);
}

bool IsAsciiDigit(char32_t c) { return c >= '0' && c <= '9'; }

constexpr std::array kMethods = {
    Method{"split", Split},
    Method{"rsplit", RightSplit},
    Method{"splitlines", SplitLinesMethod},
    Method{"strip", StripMethod<true, true>},
    Method{"lstrip", StripMethod<true, false>},
    Method{"rstrip", StripMethod<false, true>},
    Method{"startswith", Affix<true>},
    Method{"endswith", Affix<false>},
    Method{"removeprefix", RemoveAffix<true>},
    Method{"removesuffix", RemoveAffix<false>},
    Method{"replace", Replace},
    Method{"upper", Case<ToUpper>},
    Method{"lower", Case<ToLower>},
    Method{"title", Case<ToTitle>},
    Method{"capitalize", Case<Capitalize>},
    Method{"join", Join},
    Method{"find", Find<false, false>},
    Method{"rfind", Find<true, false>},
    Method{"index", Find<false, true>},
    Method{"rindex", Find<true, true>},
    Method{"count", Count},
    Method{"isdigit", All<IsAsciiDigit>},
    Method{"isspace", All<IsSpace>},
};

/// Methods of Python's str that are not supported here.
constexpr std::array<std::string_view, 23> kUnsupported = {
    "casefold",     "center",    "encode",  "expandtabs", "format",      "format_map", "isalnum", "isalpha",
    "isascii",      "isdecimal", "islower", "isnumeric",  "isprintable", "istitle",    "isupper", "ljust",
    "isidentifier", "partition", "rjust",   "rpartition", "swapcase",    "translate",  "zfill"};

}  // namespace

Result<const Method*> FindStringMethod(std::string_view name) {
  for (const Method& method : kMethods)
    if (method.name == name) return &method;
  if (std::find(kUnsupported.begin(), kUnsupported.end(), name) != kUnsupported.end())
    return Unsupported("str.{} is not supported in templates", name);
  return nullptr;
}

Result<Value> Replaced(Runtime& runtime, std::string_view text, std::string_view from, std::string_view to,
                       int64_t count) {
  size_t left = count < 0 ? std::numeric_limits<size_t>::max() : static_cast<size_t>(count);
  std::string out;
  size_t at = 0;
  for (; left > 0; --left) {
    // An empty `from` stands before every character and at the end.
    const size_t found = from.empty() ? at : FindText(text, from, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += to;
    RETURN_IF_ERROR(runtime.MayHold(out.size()));
    at = found + from.size();
    if (!from.empty()) continue;
    if (at >= text.size()) break;
    const size_t bytes = std::min(CharacterBytes(static_cast<unsigned char>(text[at])), text.size() - at);
    out += text.substr(at, bytes);
    at += bytes;
  }
  if (at < text.size()) out += text.substr(at);
  RETURN_IF_ERROR(runtime.SpendText(text.size()));
  return runtime.String(std::move(out));
}

}  // namespace hadal::jinja
