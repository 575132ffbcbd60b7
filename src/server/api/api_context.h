// What the routes of the API stand on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine_loop.h"
#include "engine/grammar/program_budget.h"
#include "engine/grammar/vocabulary.h"
#include "server/http_types.h"
#include "text/chat_template.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

namespace hadal::api {

/// Takes generation requests; EngineLoop, perhaps watched, or a script in tests. Thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Result<RequestId> Submit(GenerationRequest request) = 0;  // as EngineLoop::Submit
  virtual void Cancel(RequestId id) = 0;                            // as EngineLoop::Cancel
  virtual void Finish(RequestId id) { Cancel(id); }                 // as EngineLoop::Finish, where it differs
};

/// The engine loop, each request passing through `watch` first (metrics), if there is one.
class LoopBackend final : public Backend {
 public:
  using Watch = std::function<GenerationRequest(GenerationRequest)>;
  explicit LoopBackend(EngineLoop& loop, Watch watch = {}) : loop_(loop), watch_(std::move(watch)) {}
  Result<RequestId> Submit(GenerationRequest request) override {
    return loop_.Submit(watch_ ? watch_(std::move(request)) : std::move(request));
  }
  void Cancel(RequestId id) override { loop_.Cancel(id); }
  void Finish(RequestId id) override { loop_.Finish(id); }

 private:
  EngineLoop& loop_;
  Watch watch_;
};

/// Immutable while routes made from it are served, and outlives them and every request they started.
struct ApiContext {
  std::string model;    // the id that requests must name
  int64_t created = 0;  // Unix time in s, of /v1/models
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template = {};  // without one, chats are refused
  OutputFormat format = {};                        // of DetectOutputFormat, or chosen
  int64_t context = 0;                             // positions of one sequence: EngineLoop::context()
  std::vector<int64_t> stop_ids = {};              // end-of-sequence tokens
  int32_t bos = -1;                                // put before the text prompts of /v1/completions; -1: none
  SamplingParams defaults = {};  // what a request does not say: temperature, top_p, top_k, ...
  int64_t max_choices = 128;     // prompts times n of one call
  Backend* backend = nullptr;
  std::shared_ptr<const grammar::Vocabulary> vocabulary = {};  // the tokenizer's, less stop_ids; never null
  std::shared_ptr<grammar::ProgramBudget> programs = std::make_shared<grammar::ProgramBudget>();

  /// Runs a task soon on another thread; used for bodies above kInlineBodyBytes, whose tokenization would
  /// hold up the server's thread. False: too many wait, and the task is not taken (503). Empty: everything runs where
  /// the handler is called.
  std::function<bool(std::function<void()>)> run_elsewhere = {};
  /// Where calls count what they hold of responses that are sent whole: HttpServer::responses. Null: nobody counts.
  std::shared_ptr<ByteRoom> responses = {};
  /// Called once per choice with what it cost, for quotas; the identity is null without access control.
  std::function<void(const Identity*, const Usage&)> on_usage = {};
  /// Called once per choice that was begun: how it ended: "stop",
  /// "length", "tool_calls", "cancelled" or "error".
  std::function<void(std::string_view reason)> on_finish = {};
};
inline constexpr size_t kInlineBodyBytes = 32 << 10;

/// The context for a loaded model: tokenizer, template and ids from its folder. `backend` is set by the
/// caller.
Result<ApiContext> MakeApiContext(const Path& model_dir, const EngineLoop& loop, std::string model);
/// The same before the weights are loaded; `context` is set by the caller, too.
Result<ApiContext> MakeApiContext(const Path& model_dir, const ModelConfig& config, std::string model);

}  // namespace hadal::api
