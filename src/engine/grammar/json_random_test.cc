// Random schemas: whatever is chosen under the masks is a document that an independent validator accepts, and
// however a valid document is cut into tokens, the masks allow it.
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "engine/grammar/grammar_test_util.h"
#include "engine/grammar/token_mask.h"

namespace hadal::grammar {
namespace {

using Value = nlohmann::ordered_json;

/// Characters of a string in UTF-8.
size_t Length(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool HasType(const Value& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return (type == "null" && value.is_null()) || (type == "boolean" && value.is_boolean()) ||
         (type == "string" && value.is_string()) || (type == "array" && value.is_array()) ||
         (type == "object" && value.is_object());
}

/// A validator for what the generator below makes; written from JSON Schema's text, not from the grammar.
bool Valid(const Value& schema, const Value& value, const Value& root) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (schema.contains("$ref"))
    return Valid(root.at(nlohmann::ordered_json::json_pointer(schema["$ref"].get<std::string>().substr(1))),
                 value, root);
  if (schema.contains("anyOf"))
    return std::ranges::any_of(schema["anyOf"], [&](const Value& one) { return Valid(one, value, root); });
  if (schema.contains("enum") && std::ranges::find(schema["enum"], value) == schema["enum"].end())
    return false;
  if (schema.contains("type")) {
    const Value types = schema["type"].is_array() ? schema["type"] : Value::array({schema["type"]});
    if (std::ranges::none_of(types, [&](const Value& type) { return HasType(value, type); })) return false;
  }
  if (value.is_number()) {
    if (schema.contains("minimum") && value.get<double>() < schema["minimum"].get<double>()) return false;
    if (schema.contains("exclusiveMaximum") &&
        value.get<double>() >= schema["exclusiveMaximum"].get<double>())
      return false;
  }
  if (value.is_string()) {
    const std::string text = value;
    if (schema.contains("minLength") && Length(text) < schema["minLength"].get<size_t>()) return false;
    if (schema.contains("maxLength") && Length(text) > schema["maxLength"].get<size_t>()) return false;
    if (schema.contains("pattern") &&
        !std::regex_search(text, std::regex(schema["pattern"].get<std::string>())))
      return false;
  }
  if (value.is_array()) {
    if (value.size() < schema.value("minItems", 0u) || value.size() > schema.value("maxItems", 1000000u))
      return false;
    for (const Value& item : value)
      if (schema.contains("items") && !Valid(schema["items"], item, root)) return false;
  }
  if (value.is_object()) {
    for (const Value& name : schema.value("required", Value::array()))
      if (!value.contains(name.get<std::string>())) return false;
    const Value properties = schema.value("properties", Value::object());
    for (const auto& [name, member] : value.items()) {
      if (properties.contains(name)) {
        if (!Valid(properties[name], member, root)) return false;
      } else if (schema.contains("additionalProperties") &&
                 !Valid(schema["additionalProperties"], member, root)) {
        return false;
      }
    }
  }
  return true;
}

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  int Pick(int count) { return static_cast<int>(random_() % static_cast<uint32_t>(count)); }

  Value Root() {
    Value schema = Schema(3);
    schema["$defs"]["tree"] = {
        {"type", "object"},
        {"properties",
         {{"v", Schema(0)}, {"kids", {{"type", "array"}, {"items", {{"$ref", "#/$defs/tree"}}}}}}},
        {"required", {"v"}},
        {"additionalProperties", false}};
    if (schema.contains("anyOf") || schema.contains("$ref")) {
      Value wrapped = {{"type", "object"},
                       {"properties", {{"x", schema}}},
                       {"required", {"x"}},
                       {"additionalProperties", false}};
      wrapped["$defs"] = schema["$defs"];
      wrapped["properties"]["x"].erase("$defs");
      return wrapped;
    }
    return schema;
  }

  Value Schema(int depth) {
    switch (Pick(depth > 0 ? 10 : 6)) {
      case 0:
        return {{"type", "string"}, {"minLength", Pick(3)}, {"maxLength", 3 + Pick(10)}};
      case 1:
        return Pick(2) ? Value{{"type", "string"}} : Value{{"type", {"string", "null"}}, {"maxLength", 8}};
      case 2:
        return {{"type", "integer"}, {"minimum", Pick(200) - 100}, {"exclusiveMaximum", 101 + Pick(1000)}};
      case 3:
        return {{"type", "number"},
                {"minimum", (Pick(2000) - 1000) / 8.0},
                {"exclusiveMaximum", 126 + Pick(100) / 4.0}};
      case 4:
        return {{"enum", {"red", "größer", 5, nullptr, true, {{"k", {1, "é"}}}, "a\"b"}}};
      case 5:
        return {{"type", "string"}, {"pattern", Patterns()[static_cast<size_t>(Pick(4))].first}};
      case 6:
        return {{"type", "array"},
                {"items", Schema(depth - 1)},
                {"minItems", Pick(2)},
                {"maxItems", 2 + Pick(3)}};
      case 7:
        return {{"anyOf", {Schema(depth - 1), Schema(depth - 1)}}};
      case 8:
        return {{"$ref", "#/$defs/tree"}};
      default:
        return Object(depth);
    }
  }

  /// A document that is valid, with its properties in the schema's order.
  Value Document(const Value& schema, const Value& root, int depth) {
    if (schema.contains("$ref")) return Document(root["$defs"]["tree"], root, depth - 1);
    if (schema.contains("anyOf"))
      return Document(schema["anyOf"][static_cast<size_t>(Pick(2))], root, depth - 1);
    if (schema.contains("enum"))
      return schema["enum"][static_cast<size_t>(Pick(static_cast<int>(schema["enum"].size())))];
    if (schema.contains("pattern")) {
      for (const auto& [pattern, example] : Patterns())
        if (schema["pattern"] == pattern) return example;
    }
    const std::string type = schema["type"].is_array() ? "string" : schema["type"].get<std::string>();
    if (type == "string") return Text(schema.value("minLength", 0), schema.value("maxLength", 12));
    if (type == "integer") return schema["minimum"].get<int>() + Pick(100);
    if (type == "number") return schema["minimum"].get<double>() + Pick(8) / 8.0;
    if (type == "array") {
      Value list = Value::array();
      const int min = schema.value("minItems", 0);
      const int count = depth <= 0 ? min : min + Pick(std::min(schema.value("maxItems", 3) - min, 3) + 1);
      for (int i = 0; i < count; ++i) list.push_back(Document(schema["items"], root, depth - 1));
      return list;
    }
    Value object = Value::object();
    const Value required = schema.value("required", Value::array());
    for (const auto& item : schema["properties"].items()) {
      const bool must = std::ranges::any_of(
          required, [&](const Value& name) { return name.get<std::string>() == item.key(); });
      if (must || (depth > 0 && Pick(2))) object[item.key()] = Document(item.value(), root, depth - 1);
    }
    if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object())
      for (int i = Pick(3); i > 0; --i)
        object["more" + Text(0, 4)] = Document(schema["additionalProperties"], root, 0);
    return object;
  }

 private:
  static const std::vector<std::pair<std::string, std::string>>& Patterns() {
    static const std::vector<std::pair<std::string, std::string>> patterns = {
        {"^[a-f0-9]{4}$", "0af9"},
        {"^(ab|c)+-\\d*$", "abcab-12"},
        {"x{2,3}", "axxxb"},
        {"^\\w+@\\w+\\.org$", "a_1@b.org"}};
    return patterns;
  }

  Value Object(int depth) {
    Value properties = Value::object(), required = Value::array();
    for (const std::string name : {"name", "nam", "a b", "ключ", "q\"", "z"}) {
      if (Pick(2)) continue;
      properties[name] = Schema(depth - 1);
      if (Pick(2)) required.push_back(name);
    }
    Value schema = {{"type", "object"}, {"properties", properties}, {"required", required}};
    if (Pick(2))
      schema["additionalProperties"] = false;
    else
      schema["additionalProperties"] = Schema(0);
    return schema;
  }

  std::string Text(int min, int max) {
    static const std::vector<std::string> parts = {"a",  "Z",  " ", "é", "字", "😀", "\"",
                                                   "\\", "\n", "/", "<", "}",  ",", ":"};
    std::string text;
    for (int i = min + Pick(max - min + 1); i > 0; --i)
      text += parts[static_cast<size_t>(Pick(static_cast<int>(parts.size())))];
    return text;
  }

  std::mt19937 random_;
};

bool Has(std::span<const uint64_t> mask, int32_t id) {
  return (mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0;
}

/// Chooses tokens at random; from the 60th on those that end things, where they may come.
std::string Choose(GrammarConstraint& constraint, const Vocabulary& vocabulary, Generator& random,
                   std::string* error) {
  const Tokenizer& tokenizer = vocabulary.tokenizer();
  std::vector<int32_t> closers;
  for (const std::string_view text : {"}", "]", "\"", "\"", "null", "n", "r", "x", "@", ".", "-", "c"}) {
    const std::vector<int32_t> ids = tokenizer.Encode(text).value();
    closers.insert(closers.end(), ids.begin(), ids.end());
  }
  std::string text;
  for (int step = 0; step < 3000 && !constraint.MustEnd(); ++step) {
    const auto mask = constraint.Allowed();
    if (!mask) return *error = mask.error().message, text;
    if (Has(*mask, 1) && (step > 60 || random.Pick(4) == 0)) return text;
    int32_t id = -1;
    for (size_t tries = 0; id < 0 && step > 60 && tries < 2 * closers.size(); ++tries) {
      const int32_t closer = closers[static_cast<size_t>(random.Pick(static_cast<int>(closers.size())))];
      if (Has(*mask, closer)) id = closer;
    }
    const int32_t first = random.Pick(vocabulary.size());
    for (int32_t i = 0; id < 0 && i < vocabulary.size(); ++i) {
      const int32_t other = (first + i) % vocabulary.size();
      if (other != 1 && Has(*mask, other)) id = other;
    }
    if (id < 0) return text;  // only the end is left
    text += tokenizer.TokenBytes(id).value();
    constraint.Accept(id);
  }
  if (!constraint.MustEnd()) *error = "no end";
  return text;
}

TEST(JsonRandom, WhatIsChosenUnderTheMasksIsValid) {
  for (const auto& [name, count] : {std::pair{"tiny-bpe", 250}, {"deepseek-v3", 12}}) {
    const auto& vocabulary = VocabularyOf(name);
    for (int seed = 0; seed < count; ++seed) {
      Generator random(static_cast<uint32_t>(seed));
      const Value schema = random.Root();
      SCOPED_TRACE(schema.dump());
      const auto program = CompileSchema(schema.dump());
      ASSERT_TRUE(program) << program.error().message;
      GrammarConstraint constraint(vocabulary, *program, {1});
      std::string error;
      const std::string text = Choose(constraint, *vocabulary, random, &error);
      ASSERT_EQ(error, "") << text;
      const Value document = Value::parse(text, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(document.is_discarded()) << text;
      ASSERT_TRUE(Valid(schema, document, schema)) << text;
    }
  }
}

void ExpectAllowed(GrammarConstraint&& constraint, const Vocabulary& vocabulary,
                   const std::vector<int32_t>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto mask = constraint.Allowed();
    ASSERT_TRUE(mask) << mask.error().message;
    ASSERT_TRUE(Has(*mask, ids[i])) << "token " << i << " '"
                                    << vocabulary.tokenizer().TokenBytes(ids[i]).value() << "'";
    constraint.Accept(ids[i]);
  }
  ASSERT_TRUE(constraint.MustEnd() || Has(constraint.Allowed().value(), 1));
}

/// `text` cut at random into tokens that have its bytes.
std::vector<int32_t> CutAtRandom(std::string_view text, const Vocabulary& vocabulary, Generator& random) {
  std::vector<int32_t> ids;
  while (!text.empty()) {
    std::vector<int32_t> fitting;
    for (int32_t id = 0; id < vocabulary.size(); ++id) {
      const auto bytes = vocabulary.tokenizer().TokenBytes(id);
      if (bytes && !bytes->empty() && !vocabulary.tokenizer().IsSpecial(id) && text.starts_with(*bytes))
        fitting.push_back(id);
    }
    const int32_t id = fitting[static_cast<size_t>(random.Pick(static_cast<int>(fitting.size())))];
    ids.push_back(id);
    text.remove_prefix(vocabulary.tokenizer().TokenBytes(id).value().size());
  }
  return ids;
}

TEST(JsonRandom, EveryCutOfAValidDocumentIsAllowed) {
  for (const auto& [name, count] : {std::pair{"tiny-bpe", 250}, {"deepseek-v3", 12}}) {
    const auto& vocabulary = VocabularyOf(name);
    for (int seed = 0; seed < count; ++seed) {
      Generator random(static_cast<uint32_t>(1000 + seed));
      const Value schema = random.Root();
      const Value document = random.Document(schema, schema, 4);
      ASSERT_TRUE(Valid(schema, document, schema)) << schema.dump() << document.dump();
      const auto program = CompileSchema(schema.dump());
      ASSERT_TRUE(program) << program.error().message;
      for (const int indent : {-1, 2, 4}) {
        const std::string text = document.dump(indent);
        SCOPED_TRACE(schema.dump() + "\n" + text);
        ExpectAllowed(GrammarConstraint(vocabulary, *program, {1}), *vocabulary,
                      vocabulary->tokenizer().Encode(text).value());
        if (std::string(name) == "tiny-bpe")
          ExpectAllowed(GrammarConstraint(vocabulary, *program, {1}), *vocabulary,
                        CutAtRandom(text, *vocabulary, random));
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace hadal::grammar
