// A conversation with the model, turn by turn.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "cli/generator.h"
#include "cli/terminal.h"
#include "text/chat_template.h"

namespace hadal {

/// Called with each piece of an answer; `is_thought`: of the reasoning before it. An error ends the answer
/// and is its outcome.
using ShowPiece = std::function<Status(std::string_view piece, bool is_thought)>;

/// Who answers in the terminal: a model in this process, or a service.
class Conversation {
 public:
  virtual ~Conversation() = default;
  /// The answer, which is kept with `text`, also if it was interrupted; after an error neither is.
  virtual Result<Answer> Say(const std::string& text, const ShowPiece& show) = 0;
  /// Forgets all turns.
  virtual void Reset() = 0;
  /// Begins anew under another system message; empty: none.
  virtual void SetSystem(std::string text) = 0;
  virtual const std::string& system() const = 0;
  /// Whether there are turns at all, or every text is continued as it is.
  virtual bool has_template() const = 0;
};

/// Each turn renders the whole conversation with the model's template; what the cache holds of it is not
/// computed again. Without a template every text is completed as it is, and nothing is kept.
///
/// The rendered text is encoded as a whole, so that role markers which a message contains become tokens, as
/// in other engines: whoever types here may say anything to the model. A service must not do this with text
/// from outside.
class TerminalChat {
 public:
  /// `variables`: a JSON object of further template variables.
  TerminalChat(std::optional<ChatTemplate> chat_template, nlohmann::ordered_json variables,
               std::string system)
      : template_(std::move(chat_template)), variables_(std::move(variables)), system_(std::move(system)) {
    Reset();
  }

  /// What the model is to read if the user says `text` next. The template's errors.
  Result<std::string> Prompt(const std::string& text) const;

  /// The model's answer, which is kept with `text`, also if it was interrupted; after an error neither is.
  Result<Answer> Say(Generator& generator, const std::string& text, const ShowText& show);

  /// Forgets all turns.
  void Reset();
  /// Begins anew under another system message; empty: none.
  void SetSystem(std::string text) {
    system_ = std::move(text);
    Reset();
  }
  const std::string& system() const { return system_; }
  bool has_template() const { return template_.has_value(); }

 private:
  std::optional<ChatTemplate> template_;
  nlohmann::ordered_json variables_;
  std::string system_;
  nlohmann::ordered_json messages_;  // [{"role", "content"}]
};

/// With the model in this process. Both outlive it.
class LocalConversation final : public Conversation {
 public:
  LocalConversation(TerminalChat& chat, Generator& generator) : chat_(chat), generator_(generator) {}
  Result<Answer> Say(const std::string& text, const ShowPiece& show) override {
    return chat_.Say(generator_, text,
                     [&](std::string_view piece) { return show(piece, /*is_thought=*/false); });
  }
  void Reset() override { chat_.Reset(); }
  void SetSystem(std::string text) override { chat_.SetSystem(std::move(text)); }
  const std::string& system() const override { return chat_.system(); }
  bool has_template() const override { return chat_.has_template(); }

 private:
  TerminalChat& chat_;
  Generator& generator_;
};

/// Asks for lines at the terminal until /exit, Ctrl-D or the end of the input. `first` is put before the
/// first message; `verbose`: figures after each answer. Errors of a turn are printed, and the conversation
/// goes on.
Result<int> RunRepl(Conversation& conversation, std::string first, InterruptGuard& interrupt, bool verbose);

/// One answer to `text`: as it comes, or with `json` as one object ("seed" in it where there is one). 1 if it
/// was interrupted.
Result<int> AnswerOnce(Conversation& conversation, const std::string& text, bool json,
                       std::optional<uint64_t> seed, bool verbose);

/// "prompt 40 tokens (30 kept) in 0.10 s; answer 20 tokens in 0.50 s, 40.0 tokens/s".
std::string FiguresLine(const Answer& answer);

}  // namespace hadal
