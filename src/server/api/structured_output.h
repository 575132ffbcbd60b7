// From the form that a call asks for to the grammar that holds its choices to it.
#pragma once

#include <memory>

#include "engine/grammar/program.h"
#include "server/api/api_context.h"
#include "server/api/generation_options.h"

namespace hadal::api {

/// Where the prompt leaves a model that thinks.
enum class Thinking {
  kNone,   // no thinking comes
  kMay,    // <think> may come first
  kInside  // the prompt has opened it
};

/// Thinking at the end of a prompt's text, by the model's format.
Thinking ThinkingAfter(const OutputFormat& format, std::string_view prompt);

/// The grammar of whole answers; null if the call asks for no form.
///
///   answer = thinking? (content | calls)
///
/// The form holds from the end of thinking on. Content is what the call asks for; without that, any text
/// before the calls. Calls are in the model's format, their markers as the tokens that the model has for
/// them; arguments follow the tool's schema if it is strict, else they are any JSON object. Where tools may
/// be called, strings hold U+FF5C only as \uff5c, so that no marker stands in them.
///
/// 400, with the field: ignore_eos, a grammar or schema that can't be had, or a model without a form for
/// calls. A grammar beside a choice of tools binds the answer alone: then nothing is called. 429: the
/// programs of all calls take too much memory. Cost: some 0.1 ms; 50 ms at most.
ApiResult<std::shared_ptr<const grammar::Program>> CompileOutput(const ApiContext& api,
                                                                 const GenerationOptions& options,
                                                                 Thinking thinking);

}  // namespace hadal::api
