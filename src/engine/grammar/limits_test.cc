// Grammars that are made to hurt: each is refused, ends with a sentence, or is held within the limits of one choice and
// of one step.
#include <gmock/gmock.h>

#include <algorithm>

#include "engine/grammar/grammar_test_util.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/schema_node.h"
#include "engine/grammar/token_mask.h"

namespace hadal::grammar {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

std::string Repeated(std::string_view text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

std::string Alternatives(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += fmt::format("{}\"{:x}\"", i > 0 ? "|" : "", i * 7919 % 100003);
  return out;
}

struct Hostile {
  std::string name, gbnf;
};
std::vector<Hostile> HostileGrammars() {
  return {
      {"two ways at each byte", "root ::= . root \"y\" | . root \"z\" | \"w\""},
      {"two ways and recursion in last place", "root ::= . root . | . root \"z\" | \"w\""},
      {"lists of lists", "root ::= s \"!\"\ns ::= . s s | ."},
      {"many empty ways", "root ::= (.?){3000} \"x\""},
      {"many sets that may be empty", "root ::= ([^a]?){3000} \"x\""},
      {"nested repetitions", "root ::= (((([^a]{1,3})+){1,3})+){1,3}+"},
      {"what stood 12 characters ago", "root ::= [^b]* \"e\" [^b]{12} \"x\""},
      {"many rules at once", "root ::= (" + Repeated("r|", 9000) + "r){50}\nr ::= [^a] r [^b] | [^c]"},
      {"long alternatives", "root ::= (" + Alternatives(6000) + ")*"},
      {"each byte apart", "root ::= .{1,50} | [" + [] {
         std::string set;
         for (int i = 0x80; i < 0xC0; ++i) set += fmt::format("\\x{:02X}a-z", i);
         return set;
       }() + "]"},
      {"counting", "root ::= [^a]{1,9000}"},
      {"a long literal", "root ::= (\"" + Repeated("lorem ipsum ", 5000) + "\")*"},
      {"many named tokens", "root ::= (" + [] {
         std::string tokens = "<[5]>";
         for (int i = 6; i < 5000; ++i) tokens += fmt::format("|<[{}]>", i);
         return tokens;
       }() + "){1,5} root \"z\" | \"x\""},
  };
}

/// Some token of the mask, another one at each place.
int32_t Pick(std::span<const uint64_t> mask, int place) {
  std::vector<int32_t> ids;
  for (size_t word = 0; word < mask.size(); ++word)
    for (int bit = 0; bit < 64; ++bit)
      if (mask[word] >> bit & 1) ids.push_back(static_cast<int32_t>(64 * word) + bit);
  return ids[static_cast<size_t>(place) * 7919 % ids.size()];
}

TEST(GrammarLimits, HostileGrammarsStayWithinTheMemoryOfOneChoice) {
  const auto& vocabulary = VocabularyOf("deepseek-v3");
  const size_t planned = GrammarConstraint::PlannedBytes(vocabulary->size());
  for (const auto& [name, gbnf] : HostileGrammars()) {
    SCOPED_TRACE(name);
    const auto program = CompileGbnf(gbnf);
    if (!program) {
      EXPECT_THAT(program.error().message, AnyOf(HasSubstr("too large"), HasSubstr("more than")));
      continue;
    }
    GrammarConstraint constraint(vocabulary, *program, {1});
    EXPECT_LT(constraint.bytes(), 1000u) << "it waits";
    for (int i = 0; i < 12 && !constraint.MustEnd(); ++i) {
      const auto mask = constraint.Allowed();
      EXPECT_LE(constraint.bytes(), planned);
      if (!mask) {
        EXPECT_THAT(mask.error().message, AnyOf(HasSubstr("too many ways to go on"), HasSubstr("no token goes on")));
        break;
      }
      const int32_t token = Pick(*mask, i);
      if (token == 1) break;
      constraint.Accept(token);
      EXPECT_LE(constraint.bytes(), planned);
    }
    constraint.Rest();
    EXPECT_LT(constraint.bytes(), planned / 3);
  }
}

/// However little is done at a time, the masks and errors are the same, also where it rests in between; and no part of
/// the work takes much more than was asked for.
TEST(GrammarLimits, WorkInPartsAndRestsChangeNothing) {
  const auto& vocabulary = VocabularyOf("deepseek-v3");
  for (const auto& [name, gbnf] : HostileGrammars()) {
    SCOPED_TRACE(name);
    const auto program = CompileGbnf(gbnf);
    if (!program) continue;
    GrammarConstraint whole(vocabulary, *program, {1}), parts(vocabulary, *program, {1});
    for (int i = 0; i < 6 && !whole.MustEnd(); ++i) {
      const auto mask = whole.Allowed();
      if (i % 2 == 1) parts.Rest();
      Result<bool> ready = false;
      for (int part = 0; ready && !*ready; ++part) {
        ASSERT_LT(part, 1000);
        int64_t work = 20'000;
        ready = parts.Prepare(work);
        EXPECT_GT(work, -2 * kMaxStepWork - 2000) << "one step of the automaton at most beyond what was asked";
      }
      ASSERT_EQ(mask.has_value(), ready.has_value());
      if (!mask) {
        EXPECT_EQ(mask.error().message, ready.error().message);
        break;
      }
      EXPECT_TRUE(std::ranges::equal(*mask, parts.Allowed().value()));
      const int32_t token = Pick(*mask, i);
      if (token == 1) break;
      whole.Accept(token);
      parts.Accept(token);
    }
  }
}

TEST(GrammarLimits, LeftRecursionIsRefusedHoweverItIsHidden) {
  for (const std::string_view gbnf :
       {"root ::= root root | \"x\"", "root ::= a\na ::= a a | \"x\"", "root ::= \"y\"? b\nb ::= (root | \"x\")"})
    EXPECT_THAT(MessageOf(CompileGbnf(gbnf)), HasSubstr("left-recursive")) << gbnf;
}

TEST(GrammarLimits, DepthIsOneNumberForGroupsPatternsAndSchemas) {
  const auto groups = [](int depth) { return "root ::= " + Repeated("(", depth) + "\"a\"" + Repeated(")", depth); };
  EXPECT_EQ(MessageOf(CompileGbnf(groups(kMaxNesting))), "no error");
  EXPECT_THAT(MessageOf(CompileGbnf(groups(kMaxNesting + 1))), HasSubstr("nested more than 100 deep"));

  const auto pattern = [](int depth) {
    return R"({"type": "string", "pattern": "^)" + Repeated("(", depth) + "a" + Repeated(")", depth) + "$\"}";
  };
  EXPECT_EQ(MessageOf(CompileSchema(pattern(kMaxNesting))), "no error");
  EXPECT_THAT(MessageOf(CompileSchema(pattern(kMaxNesting + 1))), HasSubstr("nested more than 100 deep"));

  const auto schema = [](int objects) {
    return Repeated(R"({"properties": {"a": )", objects) + "true" + Repeated("}}", objects);
  };
  EXPECT_EQ(MessageOf(CompileSchema(schema(kMaxNesting / 2))), "no error");
  EXPECT_EQ(MessageOf(CompileSchema(schema(kMaxNesting / 2 + 1))),
            "invalid_argument: the schema is nested more than 100 deep");
  EXPECT_EQ(MessageOf(CompileSchema(R"({"const": )" + Repeated("[", 900) + Repeated("]", 900) + "}")),
            "invalid_argument: the schema is nested more than 100 deep");
}

TEST(GrammarLimits, ReferencesInCirclesEnd) {
  EXPECT_EQ(MessageOf(CompileSchema(R"({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {
    "next": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object", "properties": {"b": {"type": "integer"}}}]}}}}})")),
            "no error");
  // Each level refers to the next one twice; unfolded it would be 2^40 objects.
  std::string levels = R"({"$ref": "#/$defs/l0", "$defs": {)";
  for (int i = 0; i < 40; ++i)
    levels += fmt::format(R"("l{}": {{"type": "object", "properties": {{"a": {{"allOf": [{{"$ref": "#/$defs/l{}"}},
      {{"type": "object"}}]}}, "b": {{"allOf": [{{"$ref": "#/$defs/l{}"}}, {{"type": "object"}}]}}}}}},)",
                          i, i + 1, i + 1);
  EXPECT_EQ(MessageOf(CompileSchema(levels + R"("l40": {"type": "object"}}})")), "no error");
}

/// Schemas whose conversion takes time or memory with the square of their size.
TEST(GrammarLimits, SchemasAreBoundedBeforeTheyAreConverted) {
  const auto required = [](int count) {
    std::string names;
    for (int i = 0; i < count; ++i) names += fmt::format("{}\"p{}\"", i > 0 ? "," : "", i);
    return R"({"type": "object", "required": [)" + names + "]}";
  };
  EXPECT_EQ(MessageOf(CompileSchema(required(2'000))), "no error");
  // The list, the object, "type" and its word are values, too.
  EXPECT_THAT(MessageOf(CompileSchema(required(static_cast<int>(kMaxSchemaValues) - 3))), HasSubstr("100000 expressions"));
  EXPECT_EQ(MessageOf(CompileSchema(required(static_cast<int>(kMaxSchemaValues) - 2))),
            "invalid_argument: the schema has more than 20000 values");
  const auto title = [](size_t bytes) { return R"({"type": "null", "title": ")" + std::string(bytes, 'x') + "\"}"; };
  EXPECT_EQ(MessageOf(CompileSchema(title(kMaxSchemaText - 13))), "no error");
  EXPECT_EQ(MessageOf(CompileSchema(title(kMaxSchemaText - 12))),
            "invalid_argument: the schema's names and texts have more than 262144 bytes");

  // The names of rules below a name repeat it.
  const auto below = [](size_t bytes) {
    return R"({"properties": {")" + std::string(bytes, 'n') + R"(": {"properties": {"a": true}}}})";
  };
  constexpr size_t kBefore = sizeof("/properties/") - 1;
  EXPECT_EQ(MessageOf(CompileSchema(below(kMaxPlaceBytes - kBefore))), "no error");
  EXPECT_THAT(MessageOf(CompileSchema(below(kMaxPlaceBytes - kBefore + 1))),
              HasSubstr("unsupported: the schema's names on the way to /properties/nnn"));
}

/// All the `oneOf`s of a schema share their comparisons, also where they refer to the same entries.
TEST(GrammarLimits, ComparisonsOfOneOfAreBounded) {
  const auto schema = [](int lists, int words) {
    std::string entries, refs, all;
    for (int i = 0; i < 16; ++i) {
      std::string one;
      for (int j = 0; j < words; ++j) one += fmt::format("{}\"k{}_{}\"", j > 0 ? "," : "", i, j);
      entries += fmt::format(R"({}"e{}": {{"enum": [{}]}})", i > 0 ? "," : "", i, one);
      refs += fmt::format(R"({}{{"$ref": "#/$defs/e{}"}})", i > 0 ? "," : "", i);
    }
    for (int i = 0; i < lists; ++i) all += fmt::format(R"({}{{"oneOf": [{}]}})", i > 0 ? "," : "", refs);
    return fmt::format(R"({{"type": "array", "prefixItems": [{}], "$defs": {{{}}}}})", all, entries);
  };
  // 120 pairs of 2 * (1 + words).
  EXPECT_EQ(MessageOf(CompileSchema(schema(20, 50))), "no error");
  EXPECT_EQ(MessageOf(CompileSchema(schema(21, 50))),
            "resource_exhausted: telling the entries of 'oneOf' apart takes more than 250000 comparisons; use anyOf");
}

TEST(GrammarLimits, QuantifiersDoNotFollowEachOther) {
  for (const std::string pattern : {"^a{2}{3}$", "^a*{3}$", "^{3}$", "^a{2}+$", "^a?{1,2}$"})
    EXPECT_THAT(MessageOf(CompileSchema(R"({"type": "string", "pattern": ")" + pattern + "\"}")),
                HasSubstr("no regular expression"))
        << pattern;
  EXPECT_EQ(MessageOf(CompileSchema(R"({"type": "string", "pattern": "^(((a{2})*){3}\\{)?$"})")), "no error");
  EXPECT_THAT(MessageOf(CompileSchema(R"({"type": "string", "pattern": "^((a{1000}){1000}){1000}$"})")),
              HasSubstr("the grammar is too large"));
}

}  // namespace
}  // namespace hadal::grammar
