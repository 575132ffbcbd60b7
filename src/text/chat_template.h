// Chat templates: from messages to the prompt's text, with the model's own Jinja template.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "text/jinja/parser.h"
#include "text/jinja/runtime.h"
#include "text/jinja/text_form.h"

namespace hadal {

struct RenderOptions {
  jinja::Limits limits;
  std::function<std::time_t()> now = [] {
    return std::time(nullptr);
  };  // what strftime_now shows, in local time
};

/// A parsed chat template. It renders as Jinja2 does in Hugging Face's environment: trim_blocks,
/// lstrip_blocks, break and continue, tojson without escaping, raise_exception and strftime_now. Templates
/// cannot read files, change what they are given, or run without end: see jinja::Limits. What lies outside
/// the subset is an error that names it.
///
/// Differences from Jinja2: integers have 64 bits; items() and keys() of a dict are copies; |safe changes
/// nothing.
///
/// Threads: Render may be called by several at once.
class ChatTemplate {
 public:
  /// Errors name the line and column: kInvalidArgument for bad syntax, kUnsupported for what is not in the
  /// subset, kResourceExhausted beyond 1 MiB or 200 levels of nesting.
  static Result<ChatTemplate> Parse(std::string source);

  /// The template of a model folder: the file chat_template.jinja if there is one, else `chat_template` of
  /// tokenizer_config.json (a text, or a list of {name, template} in which "default" is taken). The special
  /// tokens of tokenizer_config.json (bos_token, eos_token, ...) become variables. kNotFound if the folder
  /// has no template.
  static Result<ChatTemplate> Load(const Path& model_dir);

  /// The prompt for `variables`, a dict with `messages` and optionally `tools`, `documents`,
  /// `add_generation_prompt` and whatever else the template knows (`thinking`, say). As in Hugging Face's
  /// library, absent tools and documents are None and an absent add_generation_prompt is false; special
  /// tokens come from the folder unless given. kInvalidArgument if the template cannot use what it is given,
  /// or refuses it with raise_exception.
  Result<std::string> Render(const jinja::Value& variables, const RenderOptions& options = {}) const;

  /// The same for a JSON object. The order of keys is kept, and integers stay integers.
  Result<std::string> RenderJson(std::string_view json, const RenderOptions& options = {}) const;

  const std::string& source() const { return parsed_->source; }

 private:
  std::shared_ptr<const jinja::ParsedTemplate> parsed_;
  std::vector<std::pair<std::string, std::string>> special_tokens_;  // variable and text
};

}  // namespace hadal
