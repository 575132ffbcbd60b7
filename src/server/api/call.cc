#include "server/api/call.h"

#include "engine/grammar/token_mask.h"

#include <algorithm>

#include "server/api/random_hex.h"

namespace hadal::api {
namespace {

// Tokens and their alternatives that one response may have to hold before it can be sent: some 100 bytes each.
constexpr int64_t kMaxBuffered = 4 << 20;

/// Bounds a response that is sent whole; a stream is bounded by the writer.
ApiStatus CheckBuffered(const CallPlan& plan) {
  if (plan.options.stream) return {};
  const int64_t each = plan.options.n * (1 + std::max(plan.options.logprobs, 0));
  int64_t total = 0;
  for (const CallPlan::Prompt& prompt : plan.prompts) {
    if (prompt.max_tokens > kMaxBuffered / each || total > kMaxBuffered - prompt.max_tokens * each) {
      return BadField("max_tokens",
                      "the response may have more than {} tokens and alternatives (max_tokens times n, times 1 + "
                      "top_logprobs); ask for fewer, or set 'stream': true",
                      kMaxBuffered);
    }
    total += prompt.max_tokens * each;
  }
  return {};
}

int64_t CountCharacters(std::string_view bytes) {
  return std::ranges::count_if(bytes, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

Ending EndingFor(FinishReason reason, bool has_calls) {
  if (reason == FinishReason::kLength || reason == FinishReason::kContext) return Ending::kLength;
  return has_calls ? Ending::kToolCalls : Ending::kStop;
}

/// How metrics and the access log call an end, whatever API it is for.
const char* Word(Ending ending) {
  switch (ending) {
    case Ending::kLength: return "length";
    case Ending::kToolCalls: return "tool_calls";
    default: return "stop";
  }
}

/// The same of a request whose choice saw no end.
const char* Word(FinishReason reason, bool has_calls) {
  if (reason == FinishReason::kCancelled) return "cancelled";
  return reason == FinishReason::kError ? "error" : Word(EndingFor(reason, has_calls));
}

/// The requests of a call: ending one must work before its id is known, and from any thread.
class Requests {
 public:
  Requests(Backend& backend, size_t count) : backend_(backend), entries_(count) {}

  void Started(size_t index, RequestId id) {
    const std::lock_guard lock(mutex_);
    entries_[index].id = id;
    Send(entries_[index]);
  }
  /// A stop string was found.
  void Finish(size_t index) {
    const std::lock_guard lock(mutex_);
    EndEntry(entries_[index], &Backend::Finish);
  }
  void CancelAll() {
    const std::lock_guard lock(mutex_);
    for (Entry& entry : entries_) EndEntry(entry, &Backend::Cancel);
  }

 private:
  struct Entry {
    RequestId id = 0;                              // 0: not known yet
    void (Backend::*end)(RequestId id) = nullptr;  // how it is to end, once something ends it
  };
  void EndEntry(Entry& entry, void (Backend::*end)(RequestId)) {
    if (entry.end) return;
    entry.end = end;
    Send(entry);
  }
  void Send(const Entry& entry) {
    if (entry.end && entry.id != 0) (backend_.*entry.end)(entry.id);
  }

  Backend& backend_;
  std::mutex mutex_;  // held for moments only, never while the writer or `deliver` is called
  std::vector<Entry> entries_;
};

class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(const ApiContext& api, CallPlan plan, std::shared_ptr<ResponseWriter> writer);
  void Start();

 private:
  struct Choice {
    Choice(const Tokenizer& tokenizer, StopStrings stops, const OutputParser::Options& options)
        : text(tokenizer, std::move(stops), options) {}
    ChoiceText text;
    ChoiceOutput output;  // not sent yet
    Usage usage;
    int64_t characters = 0;  // of the tokens so far
    int64_t calls = 0;       // tool calls so far
    bool done = false;
    bool noted = false;  // its prompt, for the access log
    bool prompt_charged = false;  // of the prompt's first choice, for all of them
  };

  ApiStatus MakeChoices();
  GenerationRequest RequestFor(size_t index);
  void Begin();
  void Deliver(size_t index, const TokenEvent& event, const Usage& usage);
  void ReportCost(size_t index, const Usage& usage);
  void TakeToken(Choice& choice, const TokenEvent& event);
  void TakeText(Choice& choice, OutputParser::Delta delta);
  void Finish(size_t index, Ending ending);
  void NoteToken(size_t index, const TokenEvent& event, const Usage& usage);
  void NoteFinish(const char* reason);
  bool Hold(size_t bytes);
  bool HoldAll(const TokenEvent& event, const OutputParser::Delta& delta);
  void SendPiece(Choice& choice);
  void SendEvent(std::string event);
  void Complete();
  void Fail(const ApiError& error);
  Usage TotalUsage() const;

  const ApiContext& api_;
  const CallPlan plan_;
  const std::shared_ptr<ResponseWriter> writer_;
  RequestNotes* const notes_;  // the writer's; may be null
  Requests requests_;
  std::atomic<bool> closed_ = false;  // nothing more is to be written

  std::mutex mutex_;  // guards what follows: the choices' events come from one thread, Begin from another
  std::vector<Choice> choices_;
  size_t unfinished_ = 0;
  bool begun_ = false;  // all requests are submitted: the response may start
  std::string early_;   // events of a stream that has not begun
  ByteRoom::Share held_;  // what choices_ collect for a response that is sent whole
};

Call::Call(const ApiContext& api, CallPlan plan, std::shared_ptr<ResponseWriter> writer)
    : api_(api),
      plan_(std::move(plan)),
      writer_(std::move(writer)),
      notes_(writer_->notes()),
      requests_(*api.backend, plan_.prompts.size() * plan_.options.n),
      held_(api.responses) {}

ApiStatus Call::MakeChoices() {
  choices_.reserve(plan_.prompts.size() * plan_.options.n);
  for (const CallPlan::Prompt& prompt : plan_.prompts) {
    for (int64_t i = 0; i < plan_.options.n; ++i) {
      ASSIGN_OR_RETURN(StopStrings stops, StopStrings::Create(plan_.options.sampling.stop));
      Choice& choice = choices_.emplace_back(api_.tokenizer, std::move(stops), plan_.parser);
      choice.output.index = static_cast<int64_t>(choices_.size()) - 1;
      choice.output.text.content = prompt.echo;
      if (!Hold(prompt.echo.size())) return tl::unexpected(TooManyResponses());
      choice.characters = CountCharacters(prompt.echo);
    }
  }
  unfinished_ = choices_.size();
  return {};
}

GenerationRequest Call::RequestFor(size_t index) {
  const CallPlan::Prompt& prompt = plan_.prompts[index / plan_.options.n];
  GenerationRequest request;
  request.prompt = prompt.ids;
  request.params = plan_.options.sampling;
  request.params.stop.clear();
  request.params.max_tokens = prompt.max_tokens;
  request.params.seed += index % plan_.options.n;
  request.stop_ids = api_.stop_ids;
  request.stop_ids.insert(request.stop_ids.end(), plan_.options.stop_token_ids.begin(),
                          plan_.options.stop_token_ids.end());
  request.priority = plan_.options.priority;
  request.logprobs = plan_.options.logprobs;
  if (plan_.form)
    request.constraint =
        std::make_shared<grammar::GrammarConstraint>(api_.vocabulary, plan_.form, request.stop_ids);
  request.deliver = [call = shared_from_this(), index](const TokenEvent& event, const Usage& usage) {
    call->Deliver(index, event, usage);
  };
  return request;
}

void Call::Start() {
  ApiStatus made = CheckBuffered(plan_);
  if (made) made = MakeChoices();
  if (!made) return SendError(*writer_, made.error(), plan_.response->error_format());
  writer_->OnDisconnect([weak = weak_from_this()] {
    if (const auto call = weak.lock()) {
      call->closed_ = true;
      call->requests_.CancelAll();
    }
  });
  const size_t count = choices_.size();
  for (size_t i = 0; i < count && !closed_; ++i) {
    const Result<RequestId> id = api_.backend->Submit(RequestFor(i));
    if (!id) {
      if (!closed_.exchange(true)) SendError(*writer_, id.error(), plan_.response->error_format());
      return requests_.CancelAll();
    }
    requests_.Started(i, *id);
  }
  Begin();
}

void Call::Begin() {
  const std::lock_guard lock(mutex_);
  begun_ = true;
  if (closed_) return;
  if (plan_.options.stream) {
    writer_->StartStream(200, {{"Content-Type", "text/event-stream; charset=utf-8"},
                               {"Cache-Control", "no-cache"},
                               {"X-Accel-Buffering", "no"}});
    if (!early_.empty()) SendEvent(std::exchange(early_, {}));
  }
  if (unfinished_ == 0) Complete();
}

void Call::Deliver(size_t index, const TokenEvent& event, const Usage& usage) {
  const std::lock_guard lock(mutex_);
  Choice& choice = choices_[index];
  if (event.finished && api_.on_usage) ReportCost(index, usage);
  NoteToken(index, event, usage);
  if (closed_ && event.finished && !choice.done) NoteFinish(Word(event.reason, choice.calls > 0));
  if (closed_ || choice.done) return;
  choice.usage = usage;
  ChoiceText::Out out;
  if (event.token >= 0) out = choice.text.Push(event.token);
  if (!HoldAll(event, out.delta)) {
    if (event.finished) NoteFinish(Word(event.reason, choice.calls > 0));  // no event comes that could say so
    return Fail(TooManyResponses());
  }
  if (event.token >= 0) TakeToken(choice, event);
  TakeText(choice, std::move(out.delta));
  if (out.stopped) {
    requests_.Finish(index);
    choice.output.stop = plan_.options.sampling.stop[out.stop_index];
    return Finish(index, choice.calls > 0 ? Ending::kToolCalls : Ending::kStopString);
  }
  if (!event.finished) return SendPiece(choice);
  if (event.reason == FinishReason::kError || event.reason == FinishReason::kCancelled)
    NoteFinish(Word(event.reason, false));
  if (event.reason == FinishReason::kError) return Fail(event.error);
  if (event.reason == FinishReason::kCancelled)
    return Fail(ApiError(503, "the server is shutting down and ended the request; try another, or later"));
  TakeText(choice, choice.text.Finish());
  Finish(index, EndingFor(event.reason, choice.calls > 0));
}

/// A prompt is counted once, with the first of its choices that ends after it was started: a request that never ran
/// has cost nothing.
void Call::ReportCost(size_t index, const Usage& usage) {
  Usage cost = usage;
  const bool started = usage.generated > 0 || usage.queue_seconds > 0;
  bool& charged = choices_[index - index % static_cast<size_t>(plan_.options.n)].prompt_charged;
  if (!started || std::exchange(charged, true)) cost.prompt = cost.cached = 0;
  api_.on_usage(plan_.identity.get(), cost);
}

void Call::TakeToken(Choice& choice, const TokenEvent& event) {
  if (plan_.options.return_token_ids) choice.output.token_ids.push_back(event.token);
  if (plan_.options.logprobs < 0) return;
  choice.output.logprobs.push_back({event.token, event.logprob, event.top, choice.characters});
  if (const auto bytes = api_.tokenizer.TokenBytes(event.token)) choice.characters += CountCharacters(*bytes);
}

void Call::TakeText(Choice& choice, OutputParser::Delta delta) {
  OutputParser::Delta& text = choice.output.text;
  text.reasoning += delta.reasoning;
  text.content += delta.content;
  for (ToolCall& call : delta.calls) {
    text.calls.push_back(std::move(call));
    choice.output.call_ids.push_back(fmt::format("{}{}", plan_.response->call_id_prefix(), RandomHex()));
    ++choice.calls;
  }
}

/// For the access log. A prompt that several choices answer counts once.
void Call::NoteToken(size_t index, const TokenEvent& event, const Usage& usage) {
  Choice& choice = choices_[index];
  if (!notes_ || choice.done) return;
  if (!std::exchange(choice.noted, true) && index % static_cast<size_t>(plan_.options.n) == 0) {
    notes_->prompt_tokens = std::max<int64_t>(notes_->prompt_tokens, 0) + usage.prompt;
    notes_->cached_tokens += usage.cached;
  }
  if (event.token < 0) return;
  ++notes_->generated_tokens;
  if (notes_->first_token_ns == 0)
    notes_->first_token_ns = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

/// Counts what is collected until the response can be sent whole. False: it has more than its fair part, and there
/// is no room.
bool Call::Hold(size_t bytes) {
  const size_t all = held_.bytes() + bytes;
  if (all > kFairResponseBytes) return held_.TrySet(all);
  held_.Set(all);
  return true;
}

/// The same of a token, with what it brings. A stream holds nothing.
bool Call::HoldAll(const TokenEvent& event, const OutputParser::Delta& delta) {
  if (plan_.options.stream) return true;
  size_t bytes = delta.reasoning.size() + delta.content.size();
  for (const ToolCall& call : delta.calls) bytes += call.name.size() + call.arguments.size() + sizeof(ToolCall);
  if (event.token >= 0 && plan_.options.return_token_ids) bytes += sizeof(int32_t);
  if (event.token >= 0 && plan_.options.logprobs >= 0)
    bytes += sizeof(TokenLogprob) + event.top.size() * sizeof(event.top[0]);
  return bytes == 0 || Hold(bytes);
}

void Call::NoteFinish(const char* reason) {
  if (api_.on_finish) api_.on_finish(reason);
  if (notes_) notes_->finish_reason = reason;
}

void Call::Finish(size_t index, Ending ending) {
  Choice& choice = choices_[index];
  NoteFinish(Word(ending));
  choice.output.ending = ending;
  choice.done = true;
  SendPiece(choice);
  if (--unfinished_ == 0 && begun_ && !closed_) Complete();
}

/// In a stream, what is new of a choice, if there is something to show.
void Call::SendPiece(Choice& choice) {
  if (!plan_.options.stream) return;
  ChoiceOutput& output = choice.output;
  if (output.text.empty() && !output.ending) return;
  SendEvent(plan_.response->Piece(output, choice.usage));
  ChoiceOutput next;
  next.index = output.index;
  next.first = false;
  next.first_call = choice.calls;
  output = std::move(next);
}

void Call::SendEvent(std::string event) {
  if (!begun_) {
    early_ += event;
  } else if (!closed_ && !writer_->Write(std::move(event))) {
    closed_ = true;
    requests_.CancelAll();
  }
}

/// The sum over the choices; each prompt counts once.
Usage Call::TotalUsage() const {
  Usage total;
  for (size_t i = 0; i < choices_.size(); ++i) {
    total.generated += choices_[i].usage.generated;
    if (i % plan_.options.n == 0) {
      total.prompt += choices_[i].usage.prompt;
      total.cached += choices_[i].usage.cached;
    }
  }
  return total;
}

void Call::Complete() {
  if (plan_.options.stream) {
    SendEvent(plan_.response->End(TotalUsage()));
    closed_ = true;
    return writer_->EndStream();
  }
  std::vector<ChoiceOutput> outputs;
  for (Choice& choice : choices_) outputs.push_back(std::move(choice.output));
  closed_ = true;
  std::string whole = plan_.response->Whole(outputs, TotalUsage());
  held_.Set(0);  // what has not left is counted by the connection
  SendJson(*writer_, std::move(whole));
}

/// In mid-stream the status is out already: the error is the last event.
void Call::Fail(const ApiError& error) {
  if (begun_ && plan_.options.stream) {
    SendEvent(plan_.response->ErrorEvent(error));
    closed_ = true;
    writer_->EndStream();
  } else if (!closed_.exchange(true)) {
    SendError(*writer_, error, plan_.response->error_format());
  }
  requests_.CancelAll();
}

}  // namespace

void StartCall(const ApiContext& api, CallPlan plan, std::shared_ptr<ResponseWriter> writer) {
  std::make_shared<Call>(api, std::move(plan), std::move(writer))->Start();
}

}  // namespace hadal::api
