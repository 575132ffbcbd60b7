// What OpenAI's answers look like, whole and in pieces.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "server/api/json_writer.h"
#include "server/api/response.h"
#include "text/tokenizer.h"

namespace hadal::openai {

using namespace api;

/// What chats and completions share.
class OpenAiResponse : public Response {
 public:
  struct Options {
    std::string id;
    int64_t created = 0;  // Unix time in s
    std::string model;
    bool logprobs = false, token_ids = false, usage_in_stream = false;
  };

  OpenAiResponse(Options options, Tokenizer tokenizer)
      : options_(std::move(options)), tokenizer_(std::move(tokenizer)) {}

  std::string Whole(std::span<const ChoiceOutput> choices, const Usage& total) override;
  std::string Piece(const ChoiceOutput& choice, const Usage& usage) override;
  /// The usage, if the stream has it, and [DONE].
  std::string End(const Usage& total) override;
  /// The error; no [DONE] follows.
  std::string ErrorEvent(const ApiError& error) override;
  ErrorFormat error_format() const override;
  std::string_view call_id_prefix() const override { return "call_"; }

 protected:
  virtual std::string_view ObjectName(bool piece) const = 0;
  /// The members of a choice but index, token_ids and finish_reason.
  virtual void WriteChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const = 0;
  bool logprobs() const { return options_.logprobs; }
  /// The bytes of a token; empty if the id names none.
  std::string_view TokenBytes(int32_t id) const;

 private:
  void WriteHead(bool piece, JsonWriter& json) const;
  void WriteWholeChoice(const ChoiceOutput& choice, bool piece, JsonWriter& json) const;

  const Options options_;
  const Tokenizer tokenizer_;
};

/// Of /v1/chat/completions and of /v1/completions.
std::unique_ptr<Response> MakeChatResponse(OpenAiResponse::Options options, Tokenizer tokenizer);
std::unique_ptr<Response> MakeCompletionResponse(OpenAiResponse::Options options, Tokenizer tokenizer);

/// JSON has no infinity: what cannot happen has OpenAI's -9999.
double FiniteLogprob(double logprob);

}  // namespace hadal::openai
