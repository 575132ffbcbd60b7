// Text in, text out: the tokenizer, the engine and the sampler for one sequence.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/sampler.h"
#include "text/tokenizer.h"

namespace hadal {

struct Answer {
  std::string text;           // without special tokens, and without the stop string that ended it
  std::string thought = {};   // of a service that tells its reasoning apart
  std::vector<int32_t> ids;   // all generated tokens, but not the one that ends an answer; none from a service
  int64_t generated_tokens = 0;
  std::string finish_reason;  // "stop", "length" (max_tokens), "context" (it is full) or "interrupted"
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;  // of them, those that were in the cache
  double prompt_seconds = 0;  // until the first token
  double seconds = 0;         // in all
};

/// Called with each piece of text as it becomes certain; an error ends the generation and is its outcome.
using ShowText = std::function<Status(std::string_view piece)>;

/// The ids of `prompt`, in which markers such as <｜User｜> are tokens. With `add_bos` the model's first
/// token is put before it unless it is there. kInvalidArgument: there is none.
Result<std::vector<int32_t>> EncodePrompt(const Tokenizer& tokenizer, const ModelConfig& config,
                                          std::string_view prompt, bool add_bos);

/// An answer has only ids below this. Models round their vocabulary up; an id that no token has is never
/// drawn.
int64_t DrawnIds(const ModelConfig& config, const Tokenizer& tokenizer);

class Generator {
 public:
  /// `interrupted` is asked before each step; true ends the answer. `engine` outlives the generator.
  static Result<Generator> Create(Engine& engine, Tokenizer tokenizer, SamplingParams params,
                                  std::function<bool()> interrupted);

  /// Answers `prompt`, encoded by EncodePrompt. What the cache holds of the prompt before is not computed
  /// again. kInvalidArgument: the prompt has no token or is longer than the context.
  Result<Answer> Complete(std::string_view prompt, bool add_bos, const ShowText& show);

 private:
  Generator(Engine& engine, Tokenizer tokenizer, SamplingParams params, std::function<bool()> interrupted,
            SamplerScratch scratch);
  Result<bool> ComputePrompt();
  Result<FinishReason> Decode(Sampler& sampler, const ShowText& show, Answer& answer, bool& interrupted);

  Engine* engine_;
  Tokenizer tokenizer_;
  SamplingParams params_;
  std::function<bool()> interrupted_;
  SamplerScratch scratch_;
  Sequence sequence_;
};

}  // namespace hadal
