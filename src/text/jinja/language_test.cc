// The language, feature by feature. Every expected text is what Jinja2 3.1 prints in Hugging Face's
// environment.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "text/chat_template.h"

namespace hadal {
namespace {

constexpr const char* kVariables =
      R"({"s": "  Hello, World  ", "u": "naïve ÉCOLE straße", "n": 7, "neg": -7, "f": 2.5, "t": true,
          "fa": false, "nul": null, "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "el": [],
          "d": {"k": "v", "a": 1, "items": 5, "nested": {"x": [1, 2, {"y": "q"}]}},
          "ld": [{"name": "x", "v": 2}, {"name": "Y", "v": 1}, {"name": "z", "v": null}],
          "mixed": [1, "a", null, 2.0, true, [1], {"k": 1}], "quote": "it's", "both": "it's \"q\"",
          "ctl": "a\u0000\u001b\u200b\u00a0é\t",
          "messages": [{"role": "system", "content": "You are. "}, {"role": "user", "content": "Hello"},
                       {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function":
                        {"name": "f", "arguments": {"a": 1, "b": [1.5, null, true, "é"]}}}]},
                       {"role": "tool", "content": [{"type": "text", "text": "part"}]}, {"role": "user"}]})";

void ExpectAll(const std::vector<std::pair<std::string, std::string>>& cases) {
  for (const auto& [source, want] : cases) {
    auto parsed = ChatTemplate::Parse(source);
    ASSERT_TRUE(parsed) << source << "\n" << parsed.error().message;
    auto text = parsed->RenderJson(kVariables);
    ASSERT_TRUE(text) << source << "\n" << text.error().message;
    EXPECT_EQ(*text, want) << source;
  }
}

TEST(JinjaLanguage, WhitespaceControl) {
  ExpectAll({
      {"  {% if t %}\n  x\n  {% endif %}\ny", "  x\ny"},
      {"a  {% if t %}  \nb{% endif %}", "a    \nb"},
      {"  {%+ if t %}x{% endif %}", "  x"},
      {"a\n  {# c #}\nb", "a\nb"},
      {"a {#- c -#} b", "ab"},
      {"a {{- 1 -}} b", "a1b"},
      {"  {{ 1 }}\nx", "  1\nx"},
      {"{% if t -%}\n   x\n{%- endif %}\ny", "xy"},
      {"{% if t +%}\nx\n{% endif +%}\ny", "\nx\n\ny"},
      {"x\n\n\n", "x\n\n"},
      {"{% for i in l %}\n  {{ i }}\n{% endfor %}\nend", "  3\n  1\n  2\nend"},
      {"a\r\nb\rc\n", "a\nb\nc"},
  });
}

TEST(JinjaLanguage, Raw) {
  ExpectAll({
      {"{% raw %}\n {{ x }}{% if %}\n  {% endraw %}\nz", "\n {{ x }}{% if %}\nz"},
      {"a {%- raw -%}  {{ x }}  {%- endraw -%}  b", "a{{ x }}b"},
      {"{% raw %}{{ '{% endraw x' }}{% endraw %}!", "{{ '{% endraw x' }}!"},
  });
}

TEST(JinjaLanguage, Literals) {
  ExpectAll({
      {"{{ 'a\\nb\\tc\\\\d\\'e\\x41\\u00e9\\101\\q' }}", "a\nb\tc\\d'eAéA\\q"},
      {"{{ \"a\" \"b\" 'c' }}", "abc"},
      {"{{ \"}}\" }}{{ {\"a\":{\"b\":1}}[\"a\"][\"b\"] }}", "}}1"},
      {"{{ 1_000 }} {{ 0x1f }} {{ 0o17 }} {{ 0b11 }} {{ 1e3 }} {{ 1.50 }}", "1000 31 15 3 1000.0 1.5"},
      {"{{ [1,2,] }}{{ (1,) }}{{ {\"a\":1,} }}{{ 1, 2 }}{{ () }}{{ [] }}{{ {} }}",
       "[1, 2](1,){'a': 1}(1, 2)()[]{}"},
      {"{{ true }}{{ False }}{{ none }}{{ None }}", "TrueFalseNoneNone"},
  });
}

TEST(JinjaLanguage, PythonText) {
  ExpectAll({
      {"{{ 1.0 }} {{ 1e15 }} {{ 1e16 }} {{ 0.0001 }} {{ 0.00001 }} {{ 0.1+0.2 }} {{ 1e100 }} {{ -0.0 }}",
       "1.0 1000000000000000.0 1e+16 0.0001 1e-05 0.30000000000000004 1e+100 -0.0"},
      {"{{ mixed }}", "[1, 'a', None, 2.0, True, [1], {'k': 1}]"},
      {"{{ [quote, both] }}", "[\"it's\", 'it\\'s \"q\"']"},
      {"{{ [ctl] }}", "['a\\x00\\x1b\\u200b\\xa0é\\t']"},
      {"{{ d }}", "{'k': 'v', 'a': 1, 'items': 5, 'nested': {'x': [1, 2, {'y': 'q'}]}}"},
      {"{{ d.keys() }} {{ d.items() }}",
       "dict_keys(['k', 'a', 'items', 'nested']) dict_items([('k', 'v'), ('a', 1), ('items', 5), ('nested'"
       ", {'x': [1, 2, {'y': 'q'}]})])"},
      {"{{ undef }}|{{ [undef] }}", "|[Undefined]"},
  });
}

TEST(JinjaLanguage, Operators) {
  ExpectAll({
      {"{{ 2**3**2 }} {{ -2**2 }} {{ 7//2 }} {{ -7//2 }} {{ -7%3 }} {{ 7%-3 }} {{ 7.5//2 }} {{ -7.5%2 }} {"
       "{ 1/3 }} {{ 2**-1 }} {{ 6/2 }}",
       "64 4 3 -4 2 -2 3.0 0.5 0.3333333333333333 0.5 3.0"},
      {"{{ 1 ~ 2 * 3 ~ \"a\" }}", "16a"},
      {"{{ \"a\" * 3 }}{{ [1] * 2 }}{{ true + true }}{{ [1]+[2] }}{{ (1,)+(2,) }}", "aaa[1, 1]2[1, 2](1, 2)"},
      {"{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 3 > 2 != 1 }}{{ 1 == 1.0 == true }}", "TrueFalseTrueTrue"},
      {"{{ \"a\" < \"b\" }}{{ [1,2] < [1,3] }}{{ (1,2) == [1,2] }}{{ {\"a\":1,\"b\":2} == {\"b\":2,\"a\":1"
       "} }}",
       "TrueTrueFalseTrue"},
      {"{{ 1 in l }}{{ \"k\" in d }}{{ \"ell\" in s }}{{ 9 not in l }}{{ \"x\" in undef }}",
       "TrueTrueTrueTrueFalse"},
      {"{{ 0 or \"\" or \"x\" }}{{ 1 and 2 }}{{ not 0 and not \"\" }}", "x2True"},
      {"{{ 1 if false }}|{{ 1 if false else 2 if false else 3 }}", "|3"},
      {"{{ -1|abs }}{{ (-1)|abs }}", "11"},
      {"{{ undef == undef }}{{ undef == none }}{{ \"x\" ~ undef ~ 1.5 ~ none }}", "TrueFalsex1.5None"},
  });
}

TEST(JinjaLanguage, Subscripts) {
  ExpectAll({
      {"{{ l[-1] }}{{ l[7] is defined }}{{ l[true] }}{{ \"héllo\"[1] }}", "2False1é"},
      {"{{ l[10:] }}{{ l[:2] }}{{ l[-10:2] }}{{ l[::2] }}{{ l[::-1] }}{{ l[2:0:-1] }}{{ l[:-5:-1] }}{{ l[n"
       "one:2] }}",
       "[][3, 1][3, 1][3, 2][2, 1, 3][2, 1][2, 1, 3][3, 1]"},
      {"{{ \"héllo\"[1:3] }}{{ \"héllo\"[::-2] }}{{ \"héllo\"[-3:] }}{{ (1,2,3)[1:] }}",
       "élolhllo(2, 3)"},
      {"{{ d[\"items\"] }}{{ d.k }}{{ d.nested.x[2].y }}{{ d.nested.x.2.y }}{{ d.zz is defined }}{{ d.item"
       "s is defined }}",
       "5vqqFalseTrue"},
      {"{{ nul.x is defined }}{{ nul[\"x\"] is defined }}{{ n.x is defined }}", "FalseFalseFalse"},
  });
}

TEST(JinjaLanguage, Loops) {
  ExpectAll({
      {"{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{"
       "{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b')"
       " }};{% endfor %}",
       "10TrueFalse3321a;21FalseFalse32132b;32FalseTrue3101a;"},
      {"{% for i in l if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% else %}none{% endfor %}",
       "1/2:3 2/2:2 "},
      {"{% for i in l if i > 10 %}x{% else %}none{% endfor %}", "none"},
      {"{% set ns = namespace(stop=false) %}{% for i in [1,2,3,4] if not ns.stop %}{{ i }}{% if i == 2 %}{"
       "% set ns.stop = true %}{% endif %}{% endfor %}",
       "12"},
      {"{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}",
       "k=v,a=1,items=5,nested={'x': [1, 2, {'y': 'q'}]},"},
      {"{% for (a, b), c in [((1,2),3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "123"},
      {"{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif "
       "%}{{ i }}{% endfor %}",
       "02"},
      {"{% for i in [1] %}{% for j in [1,2] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
       "121"},
      {"{% for c in \"hé\" %}[{{ c }}]{% endfor %}{% for x in undef %}{% else %}e{% endfor %}", "[h][é]e"},
      {"{{ range(3)|list }}{{ range(1,8,3)|list }}{{ range(5,0,-2)|list }}", "[0, 1, 2][1, 4, 7][5, 3, 1]"},
  });
}

TEST(JinjaLanguage, Scopes) {
  ExpectAll({
      {"{% set x = 1 %}{% for i in [1,2] %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "221"},
      {"{% set ns = namespace(a=1) %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns["
       "\"a\"] }}{{ ns.c }}",
       "77"},
      {"{% if t %}{% set y = 3 %}{% endif %}{{ y }}", "3"},
      {"{% set x | upper | trim %} abc {% endset %}[{{ x }}]", "[ABC]"},
      {"{% set a, b = 1, 2 %}{{ a }}{{ b }}", "12"},
      {"{% set ns = namespace() %}{% set ns.x %}abc{% endset %}{{ ns.x }}", "abc"},
      {"{% filter replace(\"a\",\"b\")|upper %}aaa{% endfilter %}", "BBB"},
  });
}

TEST(JinjaLanguage, Macros) {
  ExpectAll({
      {"{% macro m(a, b=2, c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1,3) }}{{ m(b=5,a=4)"
       " }}{{ m() }}",
       "[121][131][454][2]"},
      {"{% set x = 1 %}{% macro m() %}{{ x }}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}{% set x "
       "= 2 %}{{ m() }}",
       "15125"},
      {"{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "54321"},
      {"{% macro m() %}x{% endmacro %}{{ m.name }}{{ m() | upper }}{{ m()|length }}", "mX1"},
  });
}

TEST(JinjaLanguage, Tests) {
  ExpectAll({
      {"{{ undef is defined }}{{ undef is undefined }}{{ nul is none }}{{ s is string }}{{ d is mapping }}"
       "{{ l is sequence }}{{ d is iterable }}{{ n is iterable }}",
       "FalseTrueTrueTrueTrueTrueTrueFalse"},
      {"{{ n is number }}{{ t is number }}{{ t is integer }}{{ n is integer }}{{ f is float }}{{ t is bool"
       "ean }}{{ t is true }}{{ n is true }}{{ fa is false }}",
       "TrueTrueFalseTrueTrueTrueTrueFalseTrue"},
      {"{{ 4 is even }}{{ 3 is odd }}{{ 9 is divisibleby 3 }}{{ n is equalto 7 }}{{ n is eq(7) and true }}"
       "{{ 1 is in [1] }}{{ n is not none }}",
       "TrueTrueTrueTrueTrueTrueTrue"},
      {"{{ n is lt 8 }}{{ n is ge 8 }}{{ \"ab\" is lower }}{{ \"AB\" is upper }}{{ range is callable }}{{ "
       "t is sameas true }}{{ n is sameas none }}",
       "TrueFalseTrueTrueTrueTrueFalse"},
  });
}

TEST(JinjaLanguage, TextMethods) {
  ExpectAll({
      {"{{ 'a,b,c'.split(',') }}{{ 'a,b,c'.split(',', 1) }}{{ ' a  b '.split() }}{{ ' a  b  c '.split(none"
       ", 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ ' a  b  c '.rsplit(none,1) }}{{ ''.split() }}{{ ''.split(','"
       ") }}",
       "['a', 'b', 'c']['a', 'b,c']['a', 'b']['a', 'b  c ']['a,b', 'c'][' a  b', 'c'][]['']"},
      {"{{ 'xxabcxx'.strip('x') }}{{ 'xxabcxx'.lstrip('x') }}{{ 'xxabcxx'.rstrip('x') }}{{ '\\u3000é\\u00a"
       "0'.strip() }}",
       "abcabcxxxxabcé"},
      {"{{ 'abc'.startswith('a') }}{{ 'abc'.endswith(('x','c')) }}", "TrueTrue"},
      {"{{ 'aaa'.replace('a','b',2) }}{{ 'aé'.replace('','-') }}", "bba-a-é-"},
      {"{{ 'hello wORLD-x y2z'.title() }}{{ 'hELLO'.capitalize() }}{{ u.upper() }}{{ u.lower() }}",
       "Hello World-X Y2ZHelloNAÏVE ÉCOLE STRASSEnaïve école straße"},
      {"{{ ','.join(['a','b']) }}{{ 'éa'.find('a') }}{{ 'abcabc'.rfind('c') }}{{ 'aaa'.count('aa') }}{{ 'a"
       "bc'.find('z') }}",
       "a,b151-1"},
      {"{{ '12'.isdigit() }}{{ 'prefix-a'.removeprefix('prefix-') }}{{ 'a.py'.removesuffix('.py') }}{{ 'a"
       "\\nb\\r\\nc'.splitlines() }}",
       "Trueaa['a', 'b', 'c']"},
  });
}

TEST(JinjaLanguage, ContainerMethods) {
  ExpectAll({
      {"{{ d.get('k') }}{{ d.get('zz') }}{{ d.get('zz', 3) }}{{ d.keys()|list }}{{ d.values()|list }}{{ d."
       "items()|list }}",
       "vNone3['k', 'a', 'items', 'nested']['v', 1, 5, {'x': [1, 2, {'y': 'q'}]}][('k', 'v'), ('a', 1), ('"
       "items', 5), ('nested', {'x': [1, 2, {'y': 'q'}]})]"},
      {"{{ l.index(1) }}{{ l.count(3) }}{{ dict(a=1, b=2) }}{{ dict({'x':1}, y=2) }}",
       "11{'a': 1, 'b': 2}{'x': 1, 'y': 2}"},
  });
}

TEST(JinjaLanguage, TextFilters) {
  ExpectAll({
      {"{{ s|trim }}|{{ 'xax'|trim('x') }}|{{ 'aB'|upper }}{{ 'aB'|lower }}{{ \"it's (a) [b]\"|title }}{{ "
       "'hELLO'|capitalize }}",
       "Hello, World|a|ABabIt's (A) [B]Hello"},
      {"{{ 'a\\nb\\n\\nc'|indent }}{{ 'a\\nb'|indent(2, true) }}{{ 'a\\n\\nb'|indent('> ', blank=true) }}",
       "a\n    b\n\n    c  a\n  ba\n> \n> b"},
      {"{{ 'x'|default('y') }}{{ ''|default('y') }}{{ ''|default('y', true) }}{{ undef|d('z') }}{{ nul|def"
       "ault('y') }}",
       "xyzNone"},
      {"{{ 'abab'|replace('a','c',1) }}{{ 12|replace(1,'x') }}{{ 12|string|length }}{{ '<b>'|safe }}",
       "cbabx22<b>"},
  });
}

TEST(JinjaLanguage, NumberFilters) {
  ExpectAll({
      {"{{ '1_000'|int }} {{ ' 12 '|int }} {{ '3.9'|int }} {{ 'x'|int(7) }} {{ '0x1f'|int(base=16) }} {{ '"
       "+4'|int }} {{ 3.9|int }} {{ true|int }}",
       "1000 12 3 7 31 4 3 1"},
      {"{{ '1.5'|float }} {{ 'x'|float }} {{ '-inf'|float }} {{ 'nan'|float }} {{ 2|float }}",
       "1.5 0.0 -inf nan 2.0"},
      {"{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 2.1|round(0,'ceil') }} {{ 2.9|round(method"
       "='floor') }} {{ 5|round }}",
       "2.0 4.0 2.67 3.0 2.0 5"},
      {"{{ -3|abs }}{{ neg|abs }}{{ l|sum }}{{ l|max }}{{ l|min }}", "37631"},
  });
}

TEST(JinjaLanguage, SequenceFilters) {
  ExpectAll({
      {"{{ ls|sort }}{{ ls|sort(case_sensitive=true) }}{{ ls|sort(reverse=true) }}{{ ls|unique|list }}{{ l"
       "|reverse|list }}{{ 'abc'|reverse }}",
       "['A', 'a', 'b', 'c']['A', 'a', 'b', 'c']['c', 'b', 'A', 'a']['b', 'A', 'c'][2, 1, 3]cba"},
      {"{{ ld|map(attribute='name')|list }}{{ ld|map(attribute='zz', default='D')|list }}{{ ls|map('upper'"
       ")|join('-') }}",
       "['x', 'Y', 'z']['D', 'D', 'D']B-A-C-A"},
      {"{{ ld|selectattr('v','equalto',1)|map(attribute='name')|list }}{{ ld|rejectattr('v','none')|list|l"
       "ength }}{{ ld|selectattr('v')|list|length }}",
       "['Y']22"},
      {"{{ [1,2,3,4]|select('even')|list }}{{ [1,2,3,4]|reject('odd')|list }}{{ [0,1,'']|select|list }}{{ "
       "nul|select|list }}",
       "[2, 4][2, 4][1][]"},
      {"{{ ld|sort(attribute='name')|map(attribute='name')|join }}{{ {'b':1,'A':2}|dictsort }}{{ {'b':1,'A"
       "':2}|dictsort(by='value', reverse=true) }}",
       "xYz[('A', 2), ('b', 1)][('A', 2), ('b', 1)]"},
      {"{{ l|first }}{{ l|last }}{{ el|first }}{{ 'abc'|first }}{{ d|items|list|length }}{{ 'héé'|list }}{"
       "{ 'hé'|length }}{{ d|count }}",
       "32a4['h', 'é', 'é']24"},
      {"{% set g = l|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}", "3['1', '2'][]"},
  });
}

TEST(JinjaLanguage, SortByAttributes) {
  ExpectAll({
      {"{{ l|sort(attribute='name') }}{{ ld|sort(attribute='zz')|map(attribute='name')|join }}", "[3, 1, 2]xYz"},
      {"{{ [{'a':1,'b':2},{'a':1,'b':1},{'a':0,'b':9}]|sort(attribute='a,b')|map(attribute='b')|list }}",
       "[9, 1, 2]"},
      {"{% if t :%}x{% else :%}y{% endif %}", "x"},
  });
}

TEST(JinjaLanguage, Json) {
  ExpectAll({
      {"{{ {'a':[1,{'b':[]}],'c':{}}|tojson(indent=2) }}",
       "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}"},
      {"{{ [1,2.0,none,true]|tojson(separators=(',',':')) }}{{ {'b':1,'a':2}|tojson(sort_keys=true) }}{{ ["
       "1]|tojson(indent='\\t') }}",
       "[1,2.0,null,true]{\"a\": 2, \"b\": 1}[\n\t1\n]"},
      {"{{ {1:2, none:3, true:4, 1.5:5}|tojson }}", "{\"1\": 4, \"null\": 3, \"1.5\": 5}"},
      {"{{ '</script>\\u2028é\\x7f\\x01\"\\\\'|tojson }}{{ 'é😀'|tojson(ensure_ascii=true) }}",
       "\"</script>\u2028é\177\\u0001\\\"\\\\\"\"\\u00e9\\ud83d\\ude00\""},
      {"{{ messages[2].tool_calls|tojson }}",
       "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": [1.5, n"
       "ull, true, \"é\"]}}}]"},
      {"{{ (1,2)|tojson }}{{ 'nan'|float|tojson }}{{ '-inf'|float|tojson }}", "[1, 2]NaN-Infinity"},
  });
}

}  // namespace
}  // namespace hadal
