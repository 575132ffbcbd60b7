#include "cli/config_file.h"

#include <sys/stat.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "text/utf8.h"

namespace hadal {
namespace {

using Kind = ConfigValue::Kind;

/// Builds the tree from the parser's events. What it refuses it throws, as the parser does; ParseConfigFile
/// catches both.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string_view text) : text_(text) {}
  ConfigValue Take() { return std::move(root_); }

 private:
  [[noreturn]] static void Refuse(const YAML::Mark& mark, const std::string& sentence) {
    throw YAML::ParserException(mark, sentence);
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "aliases (*name) are not allowed");
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    Refuse(mark, "anchors (&name) are not allowed");
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    Add(mark, {Kind::kNothing, {}, {}, {}, {}});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    const bool plain = tag == "?" || tag.empty();
    if (!plain && tag != "!") Refuse(mark, "tags (!name) are not allowed");
    if (text.find('\0') != std::string::npos) Refuse(mark, "a value has a zero byte in it");
    if (!plain && !EndsOnItsLine(mark)) Refuse(mark, "a text in quotes must end on its line");
    if (!open_.empty() && open_.back()->kind == Kind::kMap && !expects_value_.back()) return Key(mark, text);
    Add(mark, {plain ? Kind::kPlain : Kind::kQuoted, {}, {}, text, {}});
  }

  /// Whether the quoted text that begins at `mark` has its closing quote on that line. The parser takes the
  /// end of the file for one, so a forgotten quote would swallow all that follows.
  bool EndsOnItsLine(const YAML::Mark& mark) const {
    size_t begin = 0;
    for (int line = 0; line < mark.line; ++line) begin = text_.find('\n', begin) + 1;
    std::string_view line = text_.substr(begin, text_.find('\n', begin) - begin);
    line.remove_prefix(std::min(static_cast<size_t>(mark.column), line.size()));
    const char quote = line.empty() ? '\0' : line.front();
    if (quote != '"' && quote != '\'') return true;  // a block of text
    for (size_t at = 1; at < line.size(); ++at) {
      const bool doubled = quote == '\'' && line.substr(at).starts_with("''");
      if (doubled || (quote == '"' && line[at] == '\\'))
        ++at;
      else if (line[at] == quote)
        return true;
    }
    return false;
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, Kind::kList);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, Kind::kMap);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapEnd() override { Close(); }

  void Open(const YAML::Mark& mark, const std::string& tag, Kind kind) {
    if (tag != "?" && tag != "!" && !tag.empty()) Refuse(mark, "tags (!name) are not allowed");
    if (open_.size() == kMaxConfigDepth)
      Refuse(mark, fmt::format("this is nested deeper than {} levels", kMaxConfigDepth));
    ConfigValue* value = Add(mark, {kind, {}, {}, {}, {}});
    // The one above is not added to before this one is closed, so the address holds until then.
    open_.push_back(value);
    expects_value_.push_back(false);
  }
  void Close() {
    open_.pop_back();
    expects_value_.pop_back();
  }

  void Key(const YAML::Mark& mark, const std::string& key) {
    std::vector<ConfigValue>& fields = open_.back()->items;
    const auto first =
        std::find_if(fields.begin(), fields.end(), [&](const ConfigValue& v) { return v.key == key; });
    if (first != fields.end())
      Refuse(mark,
             fmt::format("'{}' stands here again; it is set in line {}", key.substr(0, 64), first->line));
    if (key.empty()) Refuse(mark, "a key is empty");
    key_ = key;
    expects_value_.back() = true;
  }

  ConfigValue* Add(const YAML::Mark& mark, ConfigValue value) {
    value.line = mark.line + 1;
    if (++values_ > kMaxConfigValues)
      Refuse(mark, fmt::format("there are more than {} values", kMaxConfigValues));
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    ConfigValue& parent = *open_.back();
    if (parent.kind == Kind::kMap) {
      if (!expects_value_.back()) Refuse(mark, "a key must be a word");
      value.key = std::move(key_);
      expects_value_.back() = false;
    }
    parent.items.push_back(std::move(value));
    return &parent.items.back();
  }

  std::string_view text_;
  ConfigValue root_;
  std::vector<ConfigValue*> open_;   // from the root to the innermost list or map
  std::vector<bool> expects_value_;  // of each of them: a key was read, its value was not
  std::string key_;
  size_t values_ = 0;
};

/// kInvalidArgument for bytes that a text file does not have; the parser would replace or skip them.
Status CheckText(std::string_view text, std::string_view name) {
  int line = 1;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextUtf8(text.substr(at));
    if (step.kind != Utf8Step::kValid) return InvalidArgument("{}:{}: the text is not UTF-8", name, line);
    const unsigned char c = static_cast<unsigned char>(text[at]);
    const bool line_end = c == '\n' || (c == '\r' && text.substr(at).starts_with("\r\n"));
    if ((c < 0x20 && !line_end && c != '\t') || c == 0x7f)
      return InvalidArgument("{}:{}: there is a control character (0x{:02x})", name, line, c);
    line += c == '\n';
    at += step.length;
  }
  return {};
}

}  // namespace

Result<ConfigValue> ParseConfigFile(std::string_view text, std::string_view name) {
  if (text.size() > kMaxConfigFileBytes)
    return InvalidArgument("{}: the file has {} bytes, at most {} are read", name, text.size(),
                           kMaxConfigFileBytes);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a mark of UTF-8 that some editors write
  RETURN_IF_ERROR(CheckText(text, name));
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(text);
    const bool any = parser.HandleNextDocument(builder);
    TreeBuilder second(text);
    if (any && parser.HandleNextDocument(second))
      return InvalidArgument("{}: there is a second document; the file may have one", name);
    ConfigValue root = builder.Take();
    if (root.kind == Kind::kNothing) root.kind = Kind::kMap;
    if (root.kind != Kind::kMap)
      return InvalidArgument("{}:{}: expected a line such as 'key: value'", name, root.line);
    return root;
  } catch (const YAML::Exception& error) {
    return InvalidArgument("{}:{}: {}", name, error.mark.line + 1, error.msg);
  }
}

Result<ConfigValue> ReadConfigFile(const Path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & S_IWOTH) != 0)
    return PermissionDenied("{}: everybody may write this file; run chmod o-w on it first", path.string());
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigFileBytes));
  return ParseConfigFile(text, path.string());
}

}  // namespace hadal
