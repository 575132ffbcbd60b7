#include "ops/dialect.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "ops/answer_stream.h"

namespace hadal {
namespace {

using Json = nlohmann::json;

constexpr int64_t kAlphabetWords = 512;    // whose ids prompts are made of
constexpr int64_t kCalibrationWords = 64;  // a prompt that every context holds
constexpr size_t kMostIds = 1 << 16;
constexpr std::chrono::seconds kProbeTimeout{120};

std::string Text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// The body around a prompt. Ids are written by hand: a prompt may have a million.
std::string Body(const Dialect& dialect, const std::string& prompt_json, int64_t max_tokens) {
  const DialectOptions& options = dialect.options;
  std::string body = "{\"model\":" + Text(options.model);
  body += options.chat ? ",\"messages\":[{\"role\":\"user\",\"content\":" + prompt_json + "}]"
                       : ",\"prompt\":" + prompt_json;
  body +=
      fmt::format(",\"max_tokens\":{},\"temperature\":{},\"stream\":true", max_tokens, options.temperature);
  if (dialect.stream_usage) body += ",\"stream_options\":{\"include_usage\":true}";
  if (dialect.ignore_eos) body += ",\"ignore_eos\":true";
  return body + "}";
}

OutgoingRequest Request(const Dialect& dialect, const std::string& prompt_json, int64_t max_tokens) {
  OutgoingRequest request;
  request.path = dialect.options.chat ? "/chat/completions" : "/completions";
  request.body = Body(dialect, prompt_json, max_tokens);
  return request;
}

std::string IdsJson(const std::vector<int32_t>& ids) { return fmt::format("[{}]", fmt::join(ids, ",")); }

AnswerRecord Ask(LoadClient& client, const Dialect& dialect, const std::string& prompt_json,
                 int64_t max_tokens) {
  AnswerStream stream;
  AnswerRecord record;
  bool done = false;
  stream.on_end = [&](const AnswerRecord& ended) {
    record = ended;
    done = true;
  };
  OutgoingRequest request = Request(dialect, prompt_json, max_tokens);
  request.timeout = kProbeTimeout;
  stream.Begin(LoadClient::Clock::now(), LoadClient::Clock::now());
  client.Start(std::move(request), stream);
  while (!done) client.Run(LoadClient::Clock::now() + std::chrono::seconds(1));
  return record;
}

/// What the failed probe means for the one who started it.
Error ProbeError(const LoadClient& client, const DialectOptions& options, const AnswerRecord& record) {
  const std::string& url = client.endpoint().url;
  const std::string path = options.chat ? "/chat/completions" : "/completions";
  if (record.error == "http 401" || record.error == "http 403")
    return {
        Code::kPermissionDenied,
        fmt::format("{}: the server refuses the token ({}: {}); give one with --token-file or HADAL_TOKEN",
                    url, record.error, record.detail)};
  if (record.error == "http 404")
    return {Code::kNotFound,
            fmt::format("{}{}: not found ({}); check --url, which ends in /v1 as a rule, and --model", url,
                        path, record.detail)};
  if (record.error.starts_with("http ") || record.error == "error event")
    return {Code::kInvalidArgument, fmt::format("{}{}: the server refuses a short request ({}: {})", url,
                                                path, record.error, record.detail)};
  if (record.error == "cut off" || record.error == "bad stream")
    return {Code::kDataLoss,
            fmt::format("{}{}: no stream of completions ({}); check --url", url, path, record.detail)};
  return FailureOf(client.endpoint(), {.failure = record.error, .detail = record.detail});
}

bool IsRefusal(const AnswerRecord& record) {
  return record.error == "http 400" || record.error == "http 422";
}

/// A short answer, with what the server takes.
Result<AnswerRecord> AskLeavingOut(LoadClient& client, Dialect& dialect, const std::string& prompt_json) {
  AnswerRecord record = Ask(client, dialect, prompt_json, 2);
  for (bool Dialect::*part : {&Dialect::ignore_eos, &Dialect::stream_usage}) {
    if (!IsRefusal(record)) break;
    dialect.*part = false;
    record = Ask(client, dialect, prompt_json, 2);
  }
  if (!record.error.empty()) return tl::unexpected(ProbeError(client, dialect.options, record));
  return record;
}

/// Ids of `text` by the server's tokenizer: hadal and vLLM (`prompt`, `tokens`), llama.cpp (`content`,
/// `tokens`; its route has no /v1). Empty: it has none.
std::vector<int32_t> TokenizeThere(LoadClient& client, const std::string& model, const std::string& text) {
  std::string root = client.endpoint().url;
  if (root.ends_with("/v1")) root.resize(root.size() - 3);
  for (const std::string& url : {client.endpoint().url + "/tokenize", root + "/tokenize"}) {
    for (const char* field : {"prompt", "content"}) {
      Json body = {{"model", model}, {field, text}};
      OutgoingRequest request;
      request.path = url;
      request.body = Text(body);
      request.timeout = kProbeTimeout;
      const WholeResponse response = Exchange(client, std::move(request));
      if (!response.end.failure.empty() || response.end.status != 200) continue;
      const Json answer = Json::parse(response.body, nullptr, /*allow_exceptions=*/false);
      if (!answer.is_object() || !answer.contains("tokens") || !answer["tokens"].is_array()) continue;
      std::vector<int32_t> ids;
      for (const Json& id : answer["tokens"])
        if (id.is_number_unsigned() && id.get<uint64_t>() < (1u << 31) && ids.size() < kMostIds)
          ids.push_back(id.get<int32_t>());
      if (!ids.empty()) return ids;
    }
  }
  return {};
}

/// The ids that ordinary text has, if the server tells and takes them.
Status TryIds(LoadClient& client, Dialect& dialect, const std::string& words) {
  const DialectOptions& options = dialect.options;
  if (options.chat || options.prompts == PromptKind::kText) return {};
  const std::vector<int32_t> ids = TokenizeThere(client, options.model, words);
  const std::set<int32_t> distinct(ids.begin(), ids.end());
  dialect.alphabet.assign(distinct.begin(), distinct.end());
  if (dialect.alphabet.size() >= 16) {
    const std::vector<int32_t> few(ids.begin(), ids.begin() + 8);
    const AnswerRecord record = Ask(client, dialect, IdsJson(few), 2);
    dialect.ids = record.error.empty();
  }
  if (!dialect.ids && options.prompts == PromptKind::kIds)
    return Unsupported("{}: the server has no /tokenize or takes no token ids as prompt; use --prompts text",
                       client.endpoint().url);
  return {};
}

}  // namespace

Result<Dialect> Probe(LoadClient& client, const DialectOptions& options) {
  Dialect dialect;
  dialect.options = options;
  const PromptOptions seed{.seed = 0x70726f6265};
  ASSIGN_OR_RETURN(const AnswerRecord few, AskLeavingOut(client, dialect, Text(PromptText(seed, 1, 1, 0))));
  RETURN_IF_ERROR(TryIds(client, dialect, PromptText(seed, 0, kAlphabetWords, 0)));
  dialect.counts_tokens = few.usage.generated >= 0;
  if (dialect.ids || few.usage.prompt < 0) return dialect;
  const AnswerRecord many = Ask(client, dialect, Text(PromptText(seed, 0, kCalibrationWords, 0)), 1);
  if (!many.error.empty()) return tl::unexpected(ProbeError(client, options, many));
  dialect.tokens_per_word = std::max(
      static_cast<double>(many.usage.prompt - few.usage.prompt) / static_cast<double>(kCalibrationWords - 1),
      0.1);
  dialect.tokens_of_frame =
      std::max<int64_t>(few.usage.prompt - static_cast<int64_t>(std::ceil(dialect.tokens_per_word)), 0);
  return dialect;
}

OutgoingRequest MakeRequest(const Dialect& dialect, const PromptOptions& prompts, uint64_t index) {
  const RequestLengths lengths = LengthsOf(prompts, index);
  if (dialect.ids)
    return Request(dialect, IdsJson(PromptIds(prompts, index, lengths.input, dialect.alphabet)),
                   lengths.output);
  const auto words = [&](int64_t tokens) {
    return std::llround(static_cast<double>(std::max<int64_t>(tokens, 0)) / dialect.tokens_per_word);
  };
  const int64_t count = std::max<int64_t>(words(lengths.input - dialect.tokens_of_frame), 1);
  return Request(dialect, Text(PromptText(prompts, index, count, words(prompts.shared_prefix))),
                 lengths.output);
}

}  // namespace hadal
