#include "text/chat_template.h"

#include <filesystem>
#include <optional>

#include "text/jinja/evaluator.h"

namespace hadal {
namespace {

/// The template text in tokenizer_config.json, or nothing if it has none.
Result<std::optional<std::string>> ConfiguredTemplate(const jinja::Dict& config) {
  const jinja::Value* found = config.Find("chat_template");
  if (!found || found->is_none()) return std::nullopt;
  if (found->is_string()) return found->as_string();
  if (!found->is(jinja::Kind::kSequence))
    return DataLoss("'chat_template' is a {}, expected a text or a list of {{name, template}}",
                    found->type_name());
  for (const jinja::Value& entry : found->as_sequence().items) {
    if (!entry.is(jinja::Kind::kDict)) continue;
    const jinja::Value* name = entry.as_dict().Find("name");
    const jinja::Value* text = entry.as_dict().Find("template");
    if (name && name->is_string() && name->as_string() == "default" && text && text->is_string())
      return text->as_string();
  }
  return DataLoss("'chat_template' is a list in which none is named 'default'");
}

/// Every `*_token` of the configuration that has a text: a string, or an object with `content`.
std::vector<std::pair<std::string, std::string>> SpecialTokens(const jinja::Dict& config) {
  std::vector<std::pair<std::string, std::string>> tokens;
  for (const auto& [key, value] : config.entries()) {
    if (!key.as_string().ends_with("_token")) continue;
    const jinja::Value* text = value.is(jinja::Kind::kDict) ? value.as_dict().Find("content") : &value;
    if (text && text->is_string()) tokens.emplace_back(key.as_string(), text->as_string());
  }
  return tokens;
}

/// `error` with the name of what it is about in front.
tl::unexpected<Error> About(std::string_view what, Error error) {
  error.message = fmt::format("{}: {}", what, error.message);
  return tl::unexpected(std::move(error));
}

/// tokenizer_config.json as a dict; empty if the folder has no such file.
Result<jinja::Value> ReadConfig(const Path& path) {
  if (!std::filesystem::exists(path)) return jinja::ParseJson("{}");
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path, size_t{64} << 20));
  auto config = jinja::ParseJson(json);
  if (!config) return About(path.string(), config.error());
  if (!config->is(jinja::Kind::kDict)) return DataLoss("{}: not a JSON object", path.string());
  return config;
}

}  // namespace

Result<ChatTemplate> ChatTemplate::Parse(std::string source) {
  auto parsed = jinja::ParseTemplate(source);
  if (!parsed) return About("chat template", parsed.error());
  ChatTemplate made;
  made.parsed_ = std::make_shared<const jinja::ParsedTemplate>(*std::move(parsed));
  return made;
}

Result<ChatTemplate> ChatTemplate::Load(const Path& model_dir) {
  const Path config_path = model_dir / "tokenizer_config.json", file_path = model_dir / "chat_template.jinja";
  ASSIGN_OR_RETURN(const jinja::Value config, ReadConfig(config_path));
  Path origin = config_path;
  std::optional<std::string> source;
  if (std::filesystem::exists(file_path)) {
    origin = file_path;
    ASSIGN_OR_RETURN(source, ReadFile(file_path, jinja::kMaxSourceBytes));
  } else {
    auto configured = ConfiguredTemplate(config.as_dict());
    if (!configured) return About(config_path.string(), configured.error());
    source = *std::move(configured);
  }
  if (!source)
    return NotFound(
        "{}: no chat template, neither chat_template.jinja nor 'chat_template' in tokenizer_config.json",
        model_dir.string());
  auto made = Parse(*std::move(source));
  if (!made) return About(origin.string(), made.error());
  made->special_tokens_ = SpecialTokens(config.as_dict());
  return made;
}

Result<std::string> ChatTemplate::Render(const jinja::Value& variables, const RenderOptions& options) const {
  if (!variables.is(jinja::Kind::kDict))
    return InvalidArgument("a chat template needs an object of variables, found a {}", variables.type_name());
  jinja::Dict all = variables.as_dict();
  auto add = [&](std::string_view name, jinja::Value value) {
    if (!all.Find(name)) all.Set(jinja::Value::String(std::string(name)), std::move(value));
  };
  for (const auto& [name, text] : special_tokens_) add(name, jinja::Value::String(text));
  add("tools", jinja::Value::None());
  add("documents", jinja::Value::None());
  add("add_generation_prompt", jinja::Value::Bool(false));

  jinja::Runtime runtime(options.limits, options.now);
  const jinja::Value given = jinja::Value::Of(std::make_shared<const jinja::Dict>(std::move(all)));
  auto text = jinja::Evaluator(*parsed_, given, runtime).Run();
  if (!text) return About("chat template", text.error());
  return text;
}

Result<std::string> ChatTemplate::RenderJson(std::string_view json, const RenderOptions& options) const {
  ASSIGN_OR_RETURN(const jinja::Value variables, jinja::ParseJson(json));
  return Render(variables, options);
}

}  // namespace hadal
