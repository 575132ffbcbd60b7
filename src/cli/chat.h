// A conversation with the model, turn by turn.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "cli/generator.h"
#include "cli/terminal.h"
#include "text/chat_template.h"

namespace hadal {

/// Each turn renders the whole conversation with the model's template; what the cache holds of it is not
/// computed again. Without a template every text is completed as it is, and nothing is kept.
///
/// The rendered text is encoded as a whole, so that role markers which a message contains become tokens, as
/// in other engines: whoever types here may say anything to the model. A service must not do this with text
/// from outside.
class Chat {
 public:
  /// `variables`: a JSON object of further template variables.
  Chat(std::optional<ChatTemplate> chat_template, nlohmann::ordered_json variables, std::string system)
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

/// Asks for lines at the terminal until /exit, Ctrl-D or the end of the input. `first` is put before the
/// first message; `verbose`: figures after each answer. Errors of a turn are printed, and the conversation
/// goes on.
Result<int> RunRepl(Chat& chat, Generator& generator, std::string first, InterruptGuard& interrupt,
                    bool verbose);

/// "prompt 40 tokens (30 kept) in 0.10 s; answer 20 tokens in 0.50 s, 40.0 tokens/s".
std::string FiguresLine(const Answer& answer);

}  // namespace hadal
