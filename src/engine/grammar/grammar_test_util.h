// Short ways to a grammar, a text's state in it, and a vocabulary.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "engine/grammar/automaton.h"
#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/program.h"
#include "engine/grammar/vocabulary.h"
#include "text/test_tokenizers.h"

namespace hadal::grammar {

inline Result<std::shared_ptr<const Program>> CompileGbnf(std::string_view text) {
  Grammar grammar;
  RETURN_IF_ERROR(ParseGbnf(text, grammar, [](std::string_view token) -> std::optional<int32_t> {
    if (token == "<|x|>") return 77;
    return std::nullopt;
  }));
  return Program::Compile(grammar, grammar.RuleNamed("root"));
}

inline Result<std::shared_ptr<const Program>> CompileSchema(std::string_view schema,
                                                            const JsonOptions& options = {}) {
  simdjson::dom::parser parser;
  auto root = parser.parse(schema.data(), schema.size());
  EXPECT_FALSE(root.error()) << schema;
  Grammar grammar;
  ASSIGN_OR_RETURN(const ExprId body, SchemaExpression(grammar, root.value_unsafe(), "schema", options));
  const RuleId rule = grammar.RuleNamed("root");
  grammar.Define(rule, body);
  return Program::Compile(grammar, rule);
}

inline std::string MessageOf(const Result<std::shared_ptr<const Program>>& made) {
  return made ? std::string("no error")
              : std::string(CodeName(made.error().code)) + ": " + made.error().message;
}

enum class Match { kNo, kPrefix, kYes };

/// Whether a text is one of the grammar, or the beginning of one.
inline Match MatchText(const std::shared_ptr<const Program>& program, std::string_view text) {
  Automaton automaton(program);
  Automaton::State state = automaton.start();
  for (const char byte : text) state = automaton.Step(state, static_cast<uint8_t>(byte));
  if (state == Automaton::kDead) return Match::kNo;
  return automaton.accepts(state) ? Match::kYes : Match::kPrefix;
}

/// The tokenizer of the test data, and its vocabulary, made once.
inline const std::shared_ptr<const Vocabulary>& VocabularyOf(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Vocabulary>> made;
  auto& vocabulary = made[name];
  if (!vocabulary) {
    const int64_t stop[] = {1};
    vocabulary = Vocabulary::Create(Tokenizer::FromJson(TokenizerJson(name)).value(), stop).value();
  }
  return vocabulary;
}

}  // namespace hadal::grammar
