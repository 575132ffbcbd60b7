#include "cli/generator.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/progress.h"
#include "engine/stop_strings.h"
#include "text/detokenizer.h"

namespace hadal {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// From tokens to the text that may be shown.
class AnswerText {
 public:
  AnswerText(const Tokenizer& tokenizer, StopStrings stops, const ShowText& show, std::string& text)
      : tokenizer_(tokenizer),
        decoder_(tokenizer, /*skip_special=*/true),
        stops_(std::move(stops)),
        show_(show),
        text_(text) {}

  /// Whether a stop string is complete.
  Result<bool> Push(int32_t token) {
    // Models have rows of logits beyond their tokenizer's ids; random weights draw them too.
    const bool known = tokenizer_.TokenBytes(token).has_value();
    Result<std::string> piece =
        known ? decoder_.Push(token) : Result<std::string>(decoder_.Finish() + "\uFFFD");
    if (!piece) return tl::unexpected(piece.error());
    StopStrings::Out out = stops_.Push(*piece);
    RETURN_IF_ERROR(Show(out.text));
    return out.stopped;
  }

  Status Finish() {
    const std::string rest = stops_.Push(decoder_.Finish()).text;
    return Show(rest + stops_.Flush());
  }

 private:
  Status Show(std::string_view piece) {
    text_ += piece;
    return piece.empty() || !show_ ? Status() : show_(piece);
  }

  const Tokenizer& tokenizer_;
  StreamDecoder decoder_;
  StopStrings stops_;
  const ShowText& show_;
  std::string& text_;
};

std::string NameOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContext:
      return "context";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  return {};
}

}  // namespace

Result<std::vector<int32_t>> EncodePrompt(const Tokenizer& tokenizer, const ModelConfig& config,
                                          std::string_view prompt, bool add_bos) {
  ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.Encode(prompt));
  const int64_t bos = config.bos_token_id;
  if (add_bos && bos >= 0 && (ids.empty() || ids.front() != bos))
    ids.insert(ids.begin(), static_cast<int32_t>(bos));
  if (ids.empty()) return InvalidArgument("the prompt is empty");
  return ids;
}

int64_t DrawnIds(const ModelConfig& config, const Tokenizer& tokenizer) {
  return std::min<int64_t>(config.vocab_size, tokenizer.vocab_size());
}

Generator::Generator(Engine& engine, Tokenizer tokenizer, SamplingParams params,
                     std::function<bool()> interrupted, SamplerScratch scratch)
    : engine_(&engine),
      tokenizer_(std::move(tokenizer)),
      params_(std::move(params)),
      interrupted_(std::move(interrupted)),
      scratch_(std::move(scratch)) {}

Result<Generator> Generator::Create(Engine& engine, Tokenizer tokenizer, SamplingParams params,
                                    std::function<bool()> interrupted) {
  ASSIGN_OR_RETURN(SamplerScratch scratch, SamplerScratch::Create(DrawnIds(engine.config(), tokenizer)));
  return Generator(engine, std::move(tokenizer), std::move(params), std::move(interrupted),
                   std::move(scratch));
}

/// All but the last step of the prompt, so that it can be interrupted; false if it was.
Result<bool> Generator::ComputePrompt() {
  ProgressBar bar("reading the prompt", /*bytes=*/false);
  const int64_t step = engine_->pass().limits().tokens;
  const int64_t total = sequence_.pending();
  while (sequence_.pending() > step) {
    if (interrupted_()) return false;
    const Slice slice{&sequence_, step, /*logits=*/0};
    RETURN_IF_ERROR(engine_->RunStep(std::span(&slice, 1)));
    bar.Update(static_cast<uint64_t>(total - sequence_.pending()), static_cast<uint64_t>(total));
  }
  return !interrupted_();
}

Result<FinishReason> Generator::Decode(Sampler& sampler, const ShowText& show, Answer& answer,
                                       bool& interrupted) {
  ASSIGN_OR_RETURN(StopStrings stops, StopStrings::Create(params_.stop));
  AnswerText text(tokenizer_, std::move(stops), show, answer.text);
  const Clock::time_point start = Clock::now();
  Status status;
  const auto on_token = [&](int32_t token) {
    if (answer.ids.empty()) answer.prompt_seconds += SecondsSince(start);
    answer.ids.push_back(token);
    const Result<bool> stopped = text.Push(token);
    if (!stopped) status = tl::unexpected(stopped.error());
    interrupted = interrupted_();
    return status && !*stopped && !interrupted;
  };
  ASSIGN_OR_RETURN(const FinishReason reason, Generate(*engine_, sequence_, sampler, scratch_,
                                                       engine_->config().eos_token_ids, on_token));
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(text.Finish());
  return reason;
}

Result<Answer> Generator::Complete(std::string_view prompt, bool add_bos, const ShowText& show) {
  const Clock::time_point start = Clock::now();
  ASSIGN_OR_RETURN(std::vector<int32_t> ids, EncodePrompt(tokenizer_, engine_->config(), prompt, add_bos));
  RETURN_IF_ERROR(engine_->CheckTokens(ids));
  ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(params_, scratch_.vocab_size()));
  for (const int32_t id : ids) sampler.Observe(id, /*is_prompt=*/true);
  SetPrompt(sequence_, std::move(ids));
  Answer answer;
  answer.prompt_tokens = sequence_.prompt_length;
  answer.reused_tokens = sequence_.computed;
  ASSIGN_OR_RETURN(const bool computed, ComputePrompt());
  answer.prompt_seconds = SecondsSince(start);
  bool interrupted = !computed;
  if (computed) {
    ASSIGN_OR_RETURN(const FinishReason reason, Decode(sampler, show, answer, interrupted));
    answer.finish_reason = NameOf(reason);
  }
  if (interrupted) answer.finish_reason = "interrupted";
  answer.generated_tokens = static_cast<int64_t>(answer.ids.size());
  answer.seconds = SecondsSince(start);
  return answer;
}

}  // namespace hadal
