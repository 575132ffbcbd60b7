// GBNF: what it says, and what is refused with line and column.
#include <gmock/gmock.h>

#include "engine/grammar/grammar_test_util.h"

namespace hadal::grammar {
namespace {

using testing::HasSubstr;

void ExpectTexts(std::string_view gbnf, std::initializer_list<std::string_view> yes,
                 std::initializer_list<std::string_view> no) {
  SCOPED_TRACE(gbnf);
  const auto program = CompileGbnf(gbnf);
  ASSERT_TRUE(program) << program.error().message;
  for (const std::string_view text : yes) {
    EXPECT_EQ(MatchText(*program, text), Match::kYes) << text;
    for (size_t i = 0; i < text.size(); ++i)
      EXPECT_NE(MatchText(*program, text.substr(0, i)), Match::kNo) << text;
  }
  for (const std::string_view text : no) EXPECT_NE(MatchText(*program, text), Match::kYes) << text;
}

void ExpectRefused(const std::string& gbnf, const std::string& part) {
  SCOPED_TRACE(gbnf.substr(0, 200));
  EXPECT_THAT(MessageOf(CompileGbnf(gbnf)), HasSubstr(part));
}

TEST(Gbnf, TextsSetsAndEscapes) {
  ExpectTexts("root ::= \"yes\" | \"no\"", {"yes", "no"}, {"", "ye", "yesno", "Yes"});
  ExpectTexts(R"(root ::= "\"\\\t\n\r\x41\u00e9\U0001F600")", {"\"\\\t\n\rAé😀"}, {"\"\\\t\n\rAe😀"});
  ExpectTexts(R"(root ::= [a-c\]\[\-x\x30-\x32]+)", {"abc", "]", "[-x", "012"}, {"", "d", "3", "\\"});
  ExpectTexts("root ::= [^a-cé]", {"d", "è", "😀", "\n"}, {"a", "é", "", "dd"});
  ExpectTexts("root ::= . .", {"ab", "é\n", "😀😀"}, {"a", "abc", "\xC3\xA9\x80"});
  ExpectTexts("root ::= [a-]", {"a", "-"}, {"b"});
  ExpectTexts("root ::= \"\"", {""}, {"a"});
  ExpectTexts("root ::= [\\u0370-\\u03ff]+", {"αβγ"}, {"a", "\xCE"});
}

TEST(Gbnf, SetsAreCutIntoBytesExactly) {
  // Around every border of UTF-8's lengths and of the surrogates.
  ExpectTexts("root ::= [\\u007f-\\u0080\\u07ff-\\u0800\\ud7ff\\ue000\\uffff-\\U00010000\\U0010ffff]",
              {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBF\xBF",
               "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"},
              {"\x7E", "\xC2\x81", "\xDF\xBE", "\xE0\xA0\x81", "\xED\x9F\xBE", "\xED\xA0\x80", "\xEE\x80\x81",
               "\xEF\xBF\xBE", "\xF0\x90\x80\x81", "\xF4\x8F\xBF\xBE", "\xC0\x80"});
  ExpectTexts("root ::= [^x]", {"\xED\x9F\xBF", "\xF4\x8F\xBF\xBF"},
              {"\xED\xA0\x80", "\xC0\x80", "\xE0\x80\x80", "\xF4\x90\x80\x80", "\xFF", "\x80"});
}

TEST(Gbnf, RepetitionsAndGroups) {
  ExpectTexts("root ::= \"ab\"*", {"", "ab", "abab"}, {"a", "aba"});
  ExpectTexts("root ::= \"a\"+ \"b\"?", {"a", "aab"}, {"", "b", "abb"});
  ExpectTexts("root ::= [ab]{2}", {"ab", "bb"}, {"a", "aba"});
  ExpectTexts("root ::= \"a\"{2,}", {"aa", "aaaa"}, {"a", ""});
  ExpectTexts("root ::= \"a\"{1,3}", {"a", "aaa"}, {"", "aaaa"});
  ExpectTexts("root ::= \"a\"{0,2} \"b\"", {"b", "aab"}, {"aaab"});
  ExpectTexts("root ::= \"a\"{0}", {""}, {"a"});
  ExpectTexts("root ::= (\"a\" (\"b\" | \"c\")*){2}", {"aa", "abcac"}, {"a", "aaa"});
  ExpectTexts("root ::= ((\"a\"*)*)* \"b\"", {"b", "aaab"}, {"", "a"});
  ExpectTexts("root ::= (\"a\"? \"b\"?){3}", {"", "ab", "bbb", "ababab"}, {"bbbb", "abababa"});
}

TEST(Gbnf, RulesLinesAndComments) {
  ExpectTexts(R"g(# A sum.
root ::= term (op   # between terms
  term)*
op ::= "+" |
  "-"
  | "*"
term ::= "(" root ")"
  | [0-9]+   # digits
)g",
              {"1", "12+3", "(1-2)*3", "((7))"}, {"", "1+", "(1", "1)"});
  ExpectTexts("root::=a-1 b_2\na-1::=\"x\"\nb_2::=\"y\"", {"xy"}, {"x"});
  ExpectTexts("root ::= \"a\" root | \"\"\r\n", {"", "aaa"}, {"b"});
}

TEST(Gbnf, TokensByIdAndText) {
  const auto program = CompileGbnf("root ::= \"a\" <[12]> (<|x|> | \"b\")");
  ASSERT_TRUE(program) << program.error().message;
  Automaton automaton(*program);
  const auto after = automaton.Step(automaton.start(), 'a');
  EXPECT_EQ(automaton.StepToken(after, 13), Automaton::kDead);
  EXPECT_EQ(automaton.Step(after, 'b'), Automaton::kDead);
  const auto named = automaton.StepToken(after, 12);
  ASSERT_NE(named, Automaton::kDead);
  EXPECT_FALSE(automaton.accepts(named));
  EXPECT_TRUE(automaton.accepts(automaton.StepToken(named, 77)));
  EXPECT_TRUE(automaton.accepts(automaton.Step(named, 'b')));
}

TEST(Gbnf, RefusesWithLineAndColumn) {
  ExpectRefused("root ::= \"a\"\nx = \"b\"",
                "line 2, column 3: expected '::=' after the rule's name 'x', found '='");
  ExpectRefused("root ::= \"abc", "line 1, column 10: what begins here does not end");
  ExpectRefused("root ::= [abc", "line 1, column 10: what begins here does not end");
  ExpectRefused("root ::= \"\\q\"", "line 1, column 11: unknown escape");
  ExpectRefused("root ::= \"\\x4\"", "needs 2 hexadecimal digits");
  ExpectRefused("root ::= \"\\ud800\"", "U+D800 is no character");
  ExpectRefused("root ::= \"\\U00110000\"", "U+110000 is no character");
  ExpectRefused("root ::= (\"a\"", "expected ')' of the group, found the end");
  ExpectRefused("root ::= \"a\")", "expected the end of the rule 'root', found ')'");
  ExpectRefused("root ::= \"a\" nothing", "line 1, column 14: the rule 'nothing' is used and not defined");
  ExpectRefused("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule 'root' is defined twice");
  ExpectRefused("start ::= \"a\"", "the rule 'root' is used and not defined");
  ExpectRefused("", "'root' is used and not defined");
  ExpectRefused("root ::= \"a\"{3,1}", "the repetition ends before it begins");
  ExpectRefused("root ::= \"a\"{x}", "expected a number of repetitions, found 'x'");
  ExpectRefused("root ::= \"a\"{1,2", "expected '}' of the repetition");
  ExpectRefused("root ::= [z-a]", "ends before it begins");
  ExpectRefused("root ::= []", "the set has no characters");
  ExpectRefused("root ::= *", "found '*'");
  ExpectRefused("root ::= \"\xFF\"", "not valid UTF-8");
  ExpectRefused("root ::= !<[5]>", "unsupported: line 1, column 10: '!' before a token");
  ExpectRefused("root ::= <|y|>", "the model has no token '<|y|>'");
  ExpectRefused("root ::= <[5", "'>' is missing");
  ExpectRefused("root ::= <[-5]>", "this is neither");
  ExpectRefused("\x01", "expected the name of a rule, found byte 0x01");
}

TEST(Gbnf, LimitsAreNamed) {
  ExpectRefused(std::string(kMaxGrammarBytes + 1, ' '), "resource_exhausted: the grammar has 65537 bytes");
  ExpectRefused("root ::= " + std::string(200, '(') + "\"a\"" + std::string(200, ')'),
                "nested more than 100 deep");
  ExpectRefused("root ::= \"a\"{100001}", "at most 100000 repetitions");
  ExpectRefused("root ::= \"a\"{99999999999999999999999}", "at most 100000 repetitions");
  // Repetitions of repetitions stop where the network is full, not where they end.
  ExpectRefused("root ::= ((((\"a\"{1000}){1000}){1000}){1000}){1000}", "the grammar is too large");
  ExpectRefused("root ::= (((((\"\"){9999}){9999}){9999}){9999}){0,9999}", "the grammar is too large");
  std::string rules = "root ::= \"a\"\n";
  for (int i = 0; i < 4200; ++i) rules += "r" + std::to_string(i) + "::=\"a\"\n";
  ExpectRefused(rules, "more than 4096 rules");
}

TEST(Gbnf, LeftRecursionIsRefusedByName) {
  ExpectRefused("root ::= sum\nsum ::= sum \"+\" num | num\nnum ::= [0-9]",
                "the rule 'sum' is left-recursive");
  ExpectRefused("root ::= a\na ::= b \"x\"\nb ::= c\nc ::= a | \"y\"", "is left-recursive");
  ExpectRefused("root ::= (\" \"* root)? \"a\"", "the rule 'root' is left-recursive");
  ExpectRefused("root ::= e root | \"a\"\ne ::= \"\" | \"x\"", "the rule 'root' is left-recursive");
  ExpectRefused("root ::= (root)*", "the rule 'root' is left-recursive");
  EXPECT_TRUE(CompileGbnf("root ::= \"a\" root | \"b\" root root | \"c\""));
  EXPECT_TRUE(CompileGbnf("root ::= e e \"x\" root | e\ne ::= \"e\"?"));
}

TEST(Gbnf, WhatNeverEndsIsRefusedOrLeftOut) {
  ExpectRefused("root ::= \"a\" root", "the grammar matches nothing: the rule 'root' never comes to an end");
  ExpectRefused("root ::= \"a\" x | \"b\" y\nx ::= \"x\" y\ny ::= \"y\" x", "matches nothing");
  // A way that could not be finished is none.
  const auto program = CompileGbnf("root ::= \"a\" x | \"b\"\nx ::= \"x\" x");
  ASSERT_TRUE(program);
  EXPECT_EQ(MatchText(*program, "a"), Match::kNo);
  EXPECT_EQ(MatchText(*program, "b"), Match::kYes);
}

TEST(Gbnf, RepetitionsNestedWithoutEndAreRefused) {
  for (const std::string_view repeated : {"*", "+", "?", "{1}", "{0,2}", "*+?{1,}", " * "}) {
    std::string text = "root ::= \"a\"";
    while (text.size() + repeated.size() <= 64 * 1024) text += repeated;
    ExpectRefused(text, "line 1, column ");
    ExpectRefused(text, "repetitions nested deeper than 8");
  }
}

}  // namespace
}  // namespace hadal::grammar
