// hadal tokenize: texts to token ids and back, a JSON object a line.
#include <cstdio>
#include <memory>

#include "cli/engine_flags.h"
#include "cli/json_lines.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "text/tokenizer.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Reads JSON objects from standard input, one a line, and answers each with one line:
  {"text": "..."}  ->  {"ids": [...]}
  {"ids": [...]}   ->  {"text": "..."}     with --decode
No token is added before or after a text. A line that cannot be answered becomes {"error": "..."},
the others are answered all the same, and the exit code is 1.

Example:
  echo '{"text": "Hello"}' | hadal tokenize --model DIR
  echo '{"ids": [19923]}' | hadal tokenize --model DIR --decode)";

struct TokenizeFlags {
  std::string model;
  bool decode = false, plain = false, skip_special = false, json = false;
};

using Json = nlohmann::ordered_json;

Result<Json> EncodeLine(const Tokenizer& tokenizer, const Json& line, const TokenizeFlags& flags) {
  if (!line.is_object() || !line.contains("text") || !line["text"].is_string())
    return InvalidArgument("expected an object with a string as 'text'");
  ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.Encode(line["text"].get_ref<const std::string&>(),
                                                              {.parse_special = !flags.plain}));
  return Json{{"ids", std::move(ids)}};
}

Result<Json> DecodeLine(const Tokenizer& tokenizer, const Json& line, const TokenizeFlags& flags) {
  if (!line.is_object() || !line.contains("ids") || !line["ids"].is_array())
    return InvalidArgument("expected an object with a list as 'ids'");
  std::vector<int32_t> ids;
  for (const Json& id : line["ids"]) {
    // The largest values do not fit the comparison below as signed numbers.
    const bool fits =
        id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(tokenizer.vocab_size());
    if (!fits)
      return InvalidArgument("{} is no token id; this tokenizer has 0 to {}", JsonText(id).substr(0, 64),
                             tokenizer.vocab_size() - 1);
    ids.push_back(id.get<int32_t>());
  }
  ASSIGN_OR_RETURN(std::string text, tokenizer.Decode(ids, flags.skip_special));
  return Json{{"text", std::move(text)}};
}

Result<int> RunTokenize(const TokenizeFlags& flags) {
  ASSIGN_OR_RETURN(const Path folder, FindModelFolder(flags.model));
  ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Load(folder));
  LineReader lines(stdin);
  int code = kExitOk;
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<std::string> line, lines.Next());
    if (!line) return code;
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    Result<Json> json = ParseJsonText(*line);
    if (json) json = flags.decode ? DecodeLine(tokenizer, *json, flags) : EncodeLine(tokenizer, *json, flags);
    if (!json) {
      const std::string sentence =
          fmt::format("line {} of the input: {}", lines.number(), json.error().message);
      PrintError(sentence);
      json = Json{{"error", sentence}};  // so that answers and lines still belong to each other
      code = kExitWarning;
    }
    RETURN_IF_ERROR(Print(JsonText(*json) + "\n"));
  }
}

}  // namespace

void AddTokenize(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* verb = app.add_subcommand("tokenize", "Texts to token ids and back");
  verb->footer(kAbout);
  AddModelFlag(*verb, flags->model);
  CLI::Option* decode = verb->add_flag("--decode", flags->decode, "From ids to text");
  verb->add_flag("--plain", flags->plain, "Take markers such as <|User|> in a text as text")
      ->excludes(decode);
  verb->add_flag("--skip-special", flags->skip_special, "Leave special tokens out of decoded text")
      ->needs(decode);
  verb->add_flag("--json", flags->json, "The answers are JSON in any case; accepted for uniformity");
  verb->callback([flags, &action] { action = [flags] { return RunTokenize(*flags); }; });
}

}  // namespace hadal
