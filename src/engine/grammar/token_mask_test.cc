// Masks: each token of a vocabulary, compared with the automaton; ends, characters in parts, named tokens.
#include "engine/grammar/token_mask.h"

#include <gmock/gmock.h>

#include <random>

#include "engine/grammar/grammar_test_util.h"

namespace hadal::grammar {
namespace {

using State = Automaton::State;

bool Has(std::span<const uint64_t> mask, int64_t id) {
  return (mask[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0;
}

/// Compares the mask of `state` with reading every token.
void ExpectMask(Automaton& automaton, State state, const Vocabulary& vocabulary) {
  std::vector<uint64_t> mask;
  ASSERT_TRUE(FillMask(automaton, state, vocabulary, mask));
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const auto bytes = vocabulary.tokenizer().TokenBytes(id);
    bool may = bytes && !bytes->empty() && !vocabulary.tokenizer().IsSpecial(id);
    if (may) {
      State after = state;
      for (const char byte : *bytes) after = automaton.Step(after, static_cast<uint8_t>(byte));
      may = after != Automaton::kDead;
    }
    ASSERT_EQ(Has(mask, id), may) << "token " << id << " '" << (bytes ? *bytes : "") << "'";
  }
}

constexpr std::string_view kSchema = R"({"type": "object", "required": ["name", "tags"], "properties": {
  "name": {"type": "string"}, "short": {"type": "string", "minLength": 3, "maxLength": 20},
  "size": {"type": "number", "minimum": -2.5, "maximum": 1000},
  "kind": {"enum": ["red", "green", "größer", 7, null]},
  "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-zé]{1,8}$"}}},
  "additionalProperties": {"type": "boolean"}})";

TEST(TokenMask, HoldsExactlyTheTokensThatGoOn) {
  const std::string text =
      "{\n  \"name\": \"a \\\"b\\\" äß字😀<｜x｜>\",\"short\":\"abcdefgh\", \"size\": -1.25, "
      "\"kind\":\"größer\","
      "\"tags\": [\"abc\", \"é\"], \"other\": true, \"na\": false }";
  for (const std::string name : {"tiny-bpe", "deepseek-v3"}) {
    const auto& vocabulary = VocabularyOf(name);
    for (const bool bars : {false, true}) {
      const auto program = CompileSchema(kSchema, {.escape_bars = bars});
      ASSERT_TRUE(program) << program.error().message;
      Automaton automaton(*program);
      State state = automaton.start();
      for (size_t i = 0; i < text.size(); ++i) {
        // The large vocabulary at some places only: each takes some milliseconds.
        if (name == "tiny-bpe" || i % 17 == 0) ExpectMask(automaton, state, *vocabulary);
        const State next = automaton.Step(state, static_cast<uint8_t>(text[i]));
        if (next == Automaton::kDead) {
          EXPECT_TRUE(bars) << text.substr(0, i + 1);
          break;
        }
        state = next;
      }
      EXPECT_EQ(automaton.accepts(state), !bars);
    }
  }
}

TEST(TokenMask, FreeTextAndSets) {
  const auto& vocabulary = VocabularyOf("deepseek-v3");
  for (const std::string_view gbnf :
       {"root ::= .*", "root ::= [^<]*", "root ::= [a-z ]+ \"\\n\"", "root ::= .{7} \"x\""}) {
    Automaton automaton(CompileGbnf(gbnf).value());
    ExpectMask(automaton, automaton.start(), *vocabulary);
  }
}

TEST(TokenMask, PartsOfACharacterWhereTheirEndCanFollow) {
  // The small vocabulary has all bytes as tokens and few characters beyond ASCII.
  const auto& vocabulary = VocabularyOf("tiny-bpe");
  const Tokenizer& tokenizer = vocabulary->tokenizer();
  const auto token_of = [&](char byte) {
    for (int32_t id = 0; id < vocabulary->size(); ++id)
      if (tokenizer.TokenBytes(id).value_or("") == std::string_view(&byte, 1) && !tokenizer.IsSpecial(id))
        return id;
    return -1;
  };
  GrammarConstraint constraint(vocabulary, CompileGbnf("root ::= [äé] \"字\"").value(), {1});
  const std::string text = "é字";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto mask = constraint.Allowed();
    ASSERT_TRUE(mask);
    EXPECT_TRUE(Has(*mask, token_of(text[i])));
    EXPECT_EQ(Has(*mask, token_of('\xA4')), i == 1) << "the end of ä, after its beginning only";
    EXPECT_FALSE(Has(*mask, token_of('a')));
    EXPECT_FALSE(Has(*mask, 1));
    constraint.Accept(token_of(text[i]));
  }
  EXPECT_TRUE(constraint.MustEnd());
}

TEST(TokenMask, EndsWhereTheTextIsComplete) {
  const auto& vocabulary = VocabularyOf("tiny-bpe");
  const auto ids = [&](std::string_view text) { return vocabulary->tokenizer().Encode(text).value(); };
  GrammarConstraint constraint(vocabulary, CompileGbnf("root ::= \"a\"+ \"!\"?").value(), {1});
  EXPECT_FALSE(Has(*constraint.Allowed(), 1));
  constraint.Accept(ids("a")[0]);
  EXPECT_TRUE(Has(*constraint.Allowed(), 1));
  EXPECT_TRUE(Has(*constraint.Allowed(), ids("a")[0]));
  EXPECT_FALSE(constraint.MustEnd());
  constraint.Accept(ids("!")[0]);
  EXPECT_TRUE(constraint.MustEnd());
  EXPECT_TRUE(GrammarConstraint(vocabulary, CompileGbnf("root ::= \"\"").value(), {1}).MustEnd());
}

TEST(TokenMask, NamedTokensAndSpecialOnes) {
  const auto& vocabulary = VocabularyOf("deepseek-v3");
  const int32_t begin = vocabulary->tokenizer().IdOf("<｜tool▁calls▁begin｜>").value();
  Grammar grammar;
  const RuleId root = grammar.RuleNamed("root");
  grammar.Define(root, grammar.Sequence({grammar.TextWithout("<｜tool▁calls▁begin｜>"), grammar.Token(begin),
                                         grammar.Literal("x")}));
  GrammarConstraint constraint(vocabulary, Program::Compile(grammar, root).value(), {1});
  const auto mask = constraint.Allowed();
  EXPECT_TRUE(Has(*mask, begin));
  EXPECT_TRUE(Has(*mask, vocabulary->tokenizer().IdOf("<｜tool▁call▁begin｜>").value()));
  EXPECT_FALSE(Has(*mask, 0)) << "special tokens are no text";
  EXPECT_FALSE(Has(*mask, 1));
  // The marker cannot be spelt out: its last part is refused.
  const auto spelt =
      vocabulary->tokenizer().Encode("<｜tool▁calls▁begin｜", {.parse_special = false}).value();
  for (const int32_t id : spelt) {
    ASSERT_TRUE(Has(*constraint.Allowed(), id));
    constraint.Accept(id);
  }
  EXPECT_FALSE(Has(*constraint.Allowed(), vocabulary->tokenizer().Encode(">").value()[0]));
  constraint.Accept(begin);
  EXPECT_FALSE(Has(*constraint.Allowed(), begin));
  constraint.Accept(vocabulary->tokenizer().Encode("x").value()[0]);
  EXPECT_TRUE(constraint.MustEnd());
}

TEST(TokenMask, WhatCannotGoOnIsAnError) {
  const auto& vocabulary = VocabularyOf("tiny-bpe");
  // "y" promises a depth that is not there any more.
  GrammarConstraint constraint(
      vocabulary,
      CompileGbnf("root ::= \"(\" root \")\" | \"y\" deep \"e\"\ndeep ::= \"d\" deep \"d\" | \"c\"").value(),
      {1});
  const int32_t open = vocabulary->tokenizer().Encode("(").value()[0];
  const int32_t y = vocabulary->tokenizer().Encode("y").value()[0];
  const int32_t d = vocabulary->tokenizer().Encode("d").value()[0];
  for (int i = 0; i < 3000; ++i) {
    const auto mask = constraint.Allowed();
    if (!mask) {
      EXPECT_EQ(mask.error().code, Code::kInvalidArgument);
      EXPECT_THAT(mask.error().message, testing::HasSubstr("no token goes on here"));
      return;
    }
    constraint.Accept(Has(*mask, open) ? open : Has(*mask, y) ? y : d);
    if (!Has(*mask, open) && !Has(*mask, y) && !Has(*mask, d)) break;
  }
  // Or the depth ends in something that can be finished, which is as good.
  SUCCEED();
}

TEST(TokenMask, MasksAreKeptAndBounded) {
  const auto& vocabulary = VocabularyOf("tiny-bpe");
  GrammarConstraint constraint(vocabulary, CompileGbnf("root ::= \"a\"{0,60000}").value(), {1});
  const int32_t a = vocabulary->tokenizer().Encode("a").value()[0];
  for (int i = 0; i < 59'000; ++i) {
    if (i % 7 == 0) ASSERT_TRUE(Has(constraint.Allowed().value(), a)) << i;
    constraint.Accept(a);
  }
  EXPECT_LT(constraint.bytes(), GrammarConstraint::PlannedBytes(vocabulary->size()));
}

TEST(Vocabulary, HoldsEachTokenOnce) {
  for (const std::string name : {"tiny-bpe", "deepseek-v3"}) {
    const auto& vocabulary = VocabularyOf(name);
    std::map<int32_t, std::string> found;
    std::string way;
    for (const TokenTree::Node& node : vocabulary->all().nodes()) {
      way.resize(node.depth);
      way += static_cast<char>(node.byte);
      if (node.token >= 0) {
        EXPECT_TRUE(found.emplace(node.token, way).second);
      }
    }
    int32_t expected = 0;
    for (int32_t id = 0; id < vocabulary->size(); ++id) {
      const auto bytes = vocabulary->tokenizer().TokenBytes(id);
      if (!bytes || bytes->empty() || vocabulary->tokenizer().IsSpecial(id)) continue;
      ++expected;
      ASSERT_EQ(found[id], *bytes);
    }
    EXPECT_EQ(expected, static_cast<int32_t>(found.size()));
    EXPECT_LT(vocabulary->bytes(), size_t{16} << 20);
  }
}

}  // namespace
}  // namespace hadal::grammar
