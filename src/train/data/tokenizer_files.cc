#include "train/data/tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "text/byte_level.h"

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;

/// DeepSeek-V3's patterns (tokenizer.json, MIT): runs of ideographs and kana; words with a character before
/// them, punctuation, line ends, white space.
constexpr std::string_view kIdeographs = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";
constexpr std::string_view kWords =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

constexpr std::string_view kChatTemplate = R"jinja({%- set ns = namespace(system='', last_user=-1) -%}
{%- for m in messages -%}
  {%- if m.role == 'system' -%}
    {%- set ns.system = ns.system + ('\n\n' if ns.system else '') + m.content -%}
  {%- elif m.role == 'user' -%}
    {%- set ns.last_user = loop.index0 -%}
  {%- endif -%}
{%- endfor -%}
{{- bos_token + ns.system -}}
{%- if tools -%}
  {{- ('\n\n' if ns.system else '') + '## Tools' -}}
  {%- for tool in tools -%}
    {{- '\n' + (tool.function | tojson) -}}
  {%- endfor -%}
{%- endif -%}
{%- for m in messages -%}
  {%- if m.role == 'user' -%}
    {{- '<｜User｜>' + m.content -}}
  {%- elif m.role == 'tool' -%}
    {{- '<｜tool▁output▁begin｜>' + m.content + '<｜tool▁output▁end｜>' -}}
  {%- elif m.role == 'assistant' -%}
    {%- if m.reasoning_content and loop.index0 > ns.last_user -%}
      {{- '<｜Assistant｜><think>' + m.reasoning_content + '</think>' -}}
    {%- else -%}
      {{- '<｜Assistant｜></think>' -}}
    {%- endif -%}
    {{- m.content or '' -}}
    {%- if m.tool_calls -%}
      {{- '<｜tool▁calls▁begin｜>' -}}
      {%- for call in m.tool_calls -%}
        {%- set arguments = call.function.arguments -%}
        {{- '<｜tool▁call▁begin｜>' + call.function.name + '<｜tool▁sep｜>' -}}
        {{- (arguments if arguments is string else (arguments | tojson)) + '<｜tool▁call▁end｜>' -}}
      {%- endfor -%}
      {{- '<｜tool▁calls▁end｜>' -}}
    {%- endif -%}
    {{- eos_token -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<｜Assistant｜>' + ('<think>' if thinking else '</think>') -}}
{%- endif -%}
)jinja";

Json Split(std::string_view pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json PreTokenizerJson(int digits) {
  const std::string numbers = digits == 1 ? "\\p{N}" : fmt::format("\\p{{N}}{{1,{}}}", digits);
  const Json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  return {{"type", "Sequence"},
          {"pretokenizers", Json::array({Split(numbers), Split(kIdeographs), Split(kWords), bytes})}};
}

/// Bytes in the byte-level alphabet.
std::string Written(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += ByteLevelCharacter(static_cast<uint8_t>(byte));
  return text;
}

std::string Quoted(const std::string& text) { return Json(text).dump(); }

/// "vocab": {...}, by ids. Written here, since an ordered object searches all its keys for each new one.
std::string VocabularyText(const TrainedBpe& bpe, const std::vector<SpecialToken>& special) {
  std::string text;
  int64_t id = 0;
  const auto add = [&](const std::string& content) {
    text += fmt::format("{}\n    {}: {}", id ? "," : "", Quoted(content), id);
    ++id;
  };
  for (const SpecialToken& token : special) add(token.content);
  for (const std::string& bytes : bpe.tokens) add(Written(bytes));
  return "{" + text + "\n  }";
}

std::string MergesText(const TrainedBpe& bpe) {
  std::string text;
  for (const auto& [left, right] : bpe.merges)
    text += fmt::format("{}\n    {}", text.empty() ? "" : ",",
                        Quoted(Written(bpe.tokens[left]) + " " + Written(bpe.tokens[right])));
  return text.empty() ? "[]" : "[" + text + "\n  ]";
}

Json AddedTokensJson(const std::vector<SpecialToken>& special) {
  Json list = Json::array();
  for (const SpecialToken& token : special)
    list.push_back({{"id", list.size()},
                    {"content", token.content},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", token.special}});
  return list;
}

}  // namespace

std::vector<SpecialToken> DefaultSpecialTokens() {
  std::vector<SpecialToken> tokens;
  for (const std::string_view mark : {kBeginToken, kEndToken, kPadToken})
    tokens.push_back({std::string(mark), true});
  for (const char* marker : {"<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜tool▁calls▁begin｜>",
                             "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
                             "<｜tool▁sep｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"})
    tokens.push_back({marker, false});
  return tokens;
}

std::string_view DefaultChatTemplate() { return kChatTemplate; }

std::string TokenizerJsonText(const TrainedBpe& bpe, const std::vector<SpecialToken>& special, int digits) {
  const Json processor = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  const Json decoder = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  return fmt::format(
      "{{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": {},\n"
      "  \"normalizer\": null,\n  \"pre_tokenizer\": {},\n  \"post_processor\": {},\n  \"decoder\": {},\n"
      "  \"model\": {{\n  \"type\": \"BPE\",\n  \"dropout\": null,\n  \"unk_token\": null,\n"
      "  \"continuing_subword_prefix\": null,\n  \"end_of_word_suffix\": null,\n  \"fuse_unk\": false,\n"
      "  \"byte_fallback\": false,\n  \"vocab\": {},\n  \"merges\": {}\n  }}\n}}\n",
      AddedTokensJson(special).dump(1), PreTokenizerJson(digits).dump(1), processor.dump(), decoder.dump(),
      VocabularyText(bpe, special), MergesText(bpe));
}

std::string TokenizerConfigText(std::string_view chat_template) {
  const Json config = {{"add_bos_token", true},
                       {"add_eos_token", false},
                       {"bos_token", kBeginToken},
                       {"eos_token", kEndToken},
                       {"pad_token", kPadToken},
                       {"unk_token", nullptr},
                       {"clean_up_tokenization_spaces", false},
                       {"tokenizer_class", "LlamaTokenizerFast"},
                       {"chat_template", chat_template}};
  return config.dump(1) + "\n";
}

}  // namespace hadal::train
