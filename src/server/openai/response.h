// What the API's answers look like, whole and in pieces.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "server/openai/json_writer.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

namespace hadal::openai {

struct TokenLogprob {
  int32_t token = -1;
  double logprob = 0;
  std::vector<std::pair<int32_t, double>> top;
  int64_t text_offset = 0;  // characters of the choice's tokens before this one
};

/// One choice: all of it, or what is new since the last piece.
struct ChoiceOutput {
  int64_t index = 0;
  bool first = true;       // of a stream: nothing was sent yet
  int64_t first_call = 0;  // index of calls[0] among the choice's tool calls
  OutputParser::Delta text;
  std::vector<std::string> call_ids;  // one a call
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprob> logprobs;
  std::string_view finish_reason;  // empty: it goes on
};

/// Writes the JSON of one call's answer.
class Response {
 public:
  struct Options {
    std::string id;
    int64_t created = 0;  // Unix time in s
    std::string model;
    bool logprobs = false, token_ids = false, usage_in_stream = false;
  };

  Response(Options options, Tokenizer tokenizer)
      : options_(std::move(options)), tokenizer_(std::move(tokenizer)) {}
  virtual ~Response() = default;

  std::string Whole(std::span<const ChoiceOutput> choices, const Usage& usage) const;
  /// A piece of a stream, as the data of one event.
  std::string Piece(const ChoiceOutput& choice) const;
  /// The last piece of a stream that has usage_in_stream.
  std::string UsagePiece(const Usage& usage) const;

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
std::unique_ptr<Response> MakeChatResponse(Response::Options options, Tokenizer tokenizer);
std::unique_ptr<Response> MakeCompletionResponse(Response::Options options, Tokenizer tokenizer);

/// JSON has no infinity: what cannot happen has OpenAI's -9999.
double FiniteLogprob(double logprob);

}  // namespace hadal::openai
