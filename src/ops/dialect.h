// What a server of OpenAI's API takes: asked of it once, before anything is measured.
#pragma once

#include <string>
#include <vector>

#include "ops/load_client.h"
#include "ops/prompts.h"

namespace hadal {

enum class PromptKind { kAuto, kIds, kText };

struct DialectOptions {
  std::string model;
  bool chat = false;
  PromptKind prompts = PromptKind::kAuto;
  double temperature = 0;
};

/// How to ask this server. Made by Probe.
struct Dialect {
  DialectOptions options;
  bool ids = false;                    // prompts as token ids
  bool ignore_eos = true;              // answers have the asked length
  bool stream_usage = true;            // stream_options.include_usage is taken
  bool counts_tokens = false;          // answers come with usage
  std::vector<int32_t> alphabet = {};  // with `ids`: ids that texts have
  double tokens_per_word = 1;          // without: of PromptText's words
  int64_t tokens_of_frame = 0;         // of an empty prompt: template and markers
};

/// Asks the server for a short answer, leaving out step by step what it refuses: ignore_eos, then
/// stream_options. With prompts that may be ids it asks /tokenize for some. Errors: kPermissionDenied: the
/// token, or the certificate; kNotFound: the model or the route; kUnavailable: nobody answers;
/// kInvalidArgument: it refuses the request.
Result<Dialect> Probe(LoadClient& client, const DialectOptions& options);

/// The path and body of request `index`.
OutgoingRequest MakeRequest(const Dialect& dialect, const PromptOptions& prompts, uint64_t index);

}  // namespace hadal
