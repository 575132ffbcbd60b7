// What the server adds: the same requests in turns to an engine in this process and to a server over HTTPS,
// and the differences of their times.
//
//   serve_overhead --model-dir DIR --model NAME --url https://HOST:PORT/v1 --ca FILE --token-file FILE
//
// Both hold the same model; only one computes at a time. Times are compared token by token: an event of the
// stream may bring several tokens (half characters are held back), and counts for the last of them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <future>
#include <memory>
#include <vector>

#include "cli/endpoint_flags.h"
#include "engine/engine_loop.h"
#include "ops/answer_stream.h"
#include "ops/prompts.h"

namespace hadal {
namespace {

using Clock = LoadClient::Clock;

struct Flags {
  EndpointFlags endpoint;
  std::string model_dir;
  int64_t requests = 20, input = 512, output = 128, concurrency = 1;
  int threads = 0;
};

/// Times of an answer, in seconds from when it was asked; at[i]: of token i, or -1 where token i+1 came with
/// it.
struct Answer {
  std::vector<double> at;
};

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

std::vector<int32_t> Prompt(const Flags& flags, uint64_t index, int32_t vocabulary) {
  std::vector<int32_t> alphabet;
  for (int32_t id = 10; id < std::min(vocabulary, 250); ++id) alphabet.push_back(id);
  return PromptIds({}, index, flags.input, alphabet);
}

/// `count` requests at once through the loop; their answers.
std::vector<Answer> InProcess(EngineLoop& loop, const Flags& flags, uint64_t first, int64_t count) {
  std::vector<Answer> answers(static_cast<size_t>(count));
  std::vector<std::promise<void>> ended(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    GenerationRequest request;
    request.prompt = Prompt(flags, first + static_cast<uint64_t>(i),
                            static_cast<int32_t>(loop.engine().config().vocab_size));
    request.params.temperature = 0;
    request.params.max_tokens = flags.output;
    request.params.ignore_eos = true;
    Answer& answer = answers[static_cast<size_t>(i)];
    answer.at.reserve(static_cast<size_t>(flags.output));
    std::promise<void>& end = ended[static_cast<size_t>(i)];
    const Clock::time_point sent = Clock::now();
    request.deliver = [&answer, &end, sent](const TokenEvent& event, const Usage&) {
      if (event.token >= 0) answer.at.push_back(Seconds(Clock::now() - sent));
      if (event.finished) end.set_value();
    };
    const Result<RequestId> id = loop.Submit(std::move(request));
    if (!id) end.set_value();
  }
  for (std::promise<void>& end : ended) end.get_future().wait();
  return answers;
}

std::vector<Answer> OverHttps(LoadClient& client, const Flags& flags, uint64_t first, int64_t count,
                              int32_t vocabulary) {
  std::vector<Answer> answers(static_cast<size_t>(count));
  std::vector<AnswerStream> streams(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    Answer& answer = answers[static_cast<size_t>(i)];
    AnswerStream& stream = streams[static_cast<size_t>(i)];
    const Clock::time_point sent = Clock::now();
    stream.on_piece = [&answer, sent](const AnswerRecord&, const StreamEvent& event, Clock::time_point now) {
      for (int64_t token = 1; token < event.token_ids; ++token) answer.at.push_back(-1);
      if (event.token_ids > 0) answer.at.push_back(Seconds(now - sent));
      return Reading::kGoOn;
    };
    OutgoingRequest request;
    request.path = "/completions";
    request.body = fmt::format(
        "{{\"model\":\"{}\",\"prompt\":[{}],\"max_tokens\":{},\"temperature\":0,\"stream\":true,\"ignore_"
        "eos\":true,"
        "\"return_token_ids\":true}}",
        flags.endpoint.model, fmt::join(Prompt(flags, first + static_cast<uint64_t>(i), vocabulary), ","),
        flags.output);
    stream.Begin(sent, sent);
    client.Start(std::move(request), stream);
  }
  while (client.under_way() > 0) client.Run(Clock::now() + std::chrono::seconds(1));
  return answers;
}

void Print(const char* what, std::vector<double> seconds, double scale, const char* unit) {
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) {
    return seconds[static_cast<size_t>(share * static_cast<double>(seconds.size() - 1))] * scale;
  };
  std::printf("%-44s %9.1f %s  (quarter %.1f to %.1f)\n", what, at(0.5), unit, at(0.25), at(0.75));
}

/// The medians of what the pairs differ by.
void Compare(const std::vector<Answer>& own, const std::vector<Answer>& served) {
  std::vector<double> first, token, own_first, own_token;
  for (size_t i = 0; i < own.size(); ++i) {
    const Answer &a = own[i], &b = served[i];
    if (a.at.size() != b.at.size() || a.at.size() < 2) {
      std::fprintf(stderr, "serve_overhead: an answer of %zu tokens in this process has %zu over HTTPS\n",
                   a.at.size(), b.at.size());
      std::exit(2);
    }
    const size_t begin =
        static_cast<size_t>(std::ranges::find_if(b.at, [](double t) { return t >= 0; }) - b.at.begin());
    const size_t end = b.at.size() - 1;
    first.push_back(b.at[begin] - a.at[begin]);
    own_first.push_back(a.at[begin]);
    const double steps = static_cast<double>(end - begin);
    own_token.push_back((a.at[end] - a.at[begin]) / steps);
    token.push_back((b.at[end] - b.at[begin]) / steps - own_token.back());
  }
  Print("time to first token in process", own_first, 1e3, "ms");
  Print("what the server adds to it", first, 1e6, "us");
  Print("time per token in process", own_token, 1e6, "us");
  Print("what the server adds to it", token, 1e6, "us");
}

Status Measure(const Flags& flags) {
  EngineOptions options;
  options.threads = flags.threads;
  options.logit_rows = 16;
  options.sequences = 16;
  options.context = 1024;
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Load(flags.model_dir, options));
  const int32_t vocabulary = static_cast<int32_t>(engine->config().vocab_size);
  ASSIGN_OR_RETURN(const std::unique_ptr<EngineLoop> loop, EngineLoop::Start(std::move(engine), {}));
  ASSIGN_OR_RETURN(Endpoint endpoint, ToEndpoint(flags.endpoint));
  ASSIGN_OR_RETURN(const std::unique_ptr<LoadClient> client,
                   LoadClient::Create(std::move(endpoint), static_cast<int>(flags.concurrency)));
  std::vector<Answer> own, served;
  std::vector<double> ratio;
  // Other prompts in each run: the server would have those of the last one in its prefix cache.
  uint64_t index = static_cast<uint64_t>(Clock::now().time_since_epoch().count()) >> 8 << 8;
  for (int64_t round = -1; round < flags.requests; ++round) {
    const Clock::time_point begin = Clock::now();
    auto a = InProcess(*loop, flags, index, flags.concurrency);
    const Clock::time_point middle = Clock::now();
    auto b = OverHttps(*client, flags, index, flags.concurrency, vocabulary);
    const Clock::time_point end = Clock::now();
    index += static_cast<uint64_t>(flags.concurrency);
    if (round < 0) continue;  // warms up, and opens the connections
    ratio.push_back(Seconds(middle - begin) / Seconds(end - middle));
    std::ranges::move(a, std::back_inserter(own));
    std::ranges::move(b, std::back_inserter(served));
  }
  std::printf("%lld at once, %lld rounds in turns, prompts of %lld tokens, answers of %lld\n",
              static_cast<long long>(flags.concurrency), static_cast<long long>(flags.requests),
              static_cast<long long>(flags.input), static_cast<long long>(flags.output));
  Compare(own, served);
  Print("throughput, share of that in process", ratio, 100, "%");
  return {};
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  CLI::App app("What the server adds to the engine's times", "serve_overhead");
  hadal::Flags flags;
  hadal::AddEndpointFlags(app, flags.endpoint);
  app.add_option("--model-dir", flags.model_dir, "The folder that the server serves")->required();
  app.add_option("--requests", flags.requests, "Rounds");
  app.add_option("--input", flags.input, "Tokens of a prompt");
  app.add_option("--output", flags.output, "Tokens of an answer")->check(CLI::Range(2, 1 << 20));
  app.add_option("--concurrency", flags.concurrency, "Requests at once")->check(CLI::Range(1, 16));
  app.add_option("--threads", flags.threads, "Of the engine in this process; 0: every usable processor");
  CLI11_PARSE(app, argc, argv);
  const hadal::Status done = hadal::Measure(flags);
  if (!done) std::fprintf(stderr, "serve_overhead: %s\n", done.error().message.c_str());
  return done ? 0 : 2;
}
