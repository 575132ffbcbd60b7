// One question and its answer, and which of the two splits it belongs to.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "dice.h"

namespace hadal::default_model {

using Json = nlohmann::ordered_json;

/// A question with all that answers it: user and assistant, or user, assistant (a tool call), tool,
/// assistant.
struct Exchange {
  std::string category;
  /// What the splits divide by: two exchanges of one key are the same question. Where the answer must be
  /// computed or copied the key has no wording, so that a held-out question is new in every wording.
  std::string key;
  std::vector<Json> messages;
  std::vector<Json> tools;  // offered; tools of an earlier exchange stay
};

Json UserSays(std::string text);
Json AssistantSays(std::string text);
Exchange AskAndAnswer(std::string category, std::string key, std::string question, std::string answer);

enum class Split { kTrain, kHeldOut };
/// One key in twelve is held out, by its hash.
Split SplitOf(std::string_view key);

/// `text` with each "{}" replaced by the next of `values`.
std::string Fill(std::string_view text, std::initializer_list<std::string_view> values);

/// A question as people put it: with a word before or after it, in small letters, without its mark. `wording`
/// gets the number of the form.
std::string Reword(const std::string& question, Dice& dice, int64_t& wording);

/// All small, and without the mark at its end.
std::string Typed(std::string text);

// The kinds of questions; each draws one exchange of either split.
Exchange AboutVerbs(Dice& dice);     // what hadal's verbs do, and which does what
Exchange AboutErrors(Dice& dice);    // what errors mean
Exchange AboutSettings(Dice& dice);  // where things are configured
Exchange AboutHadal(Dice& dice);     // the rest about hadal, and about this model
Exchange SmallTalk(Dice& dice);      // greetings and thanks
Exchange Unknowable(Dice& dice);     // what a small model cannot know
Exchange Sum(Dice& dice);            // a + b, both up to 99
Exchange Difference(Dice& dice);     // a - b, up to 99
Exchange Product(Dice& dice);        // tables up to 12 x 12
Exchange WordProblem(Dice& dice);    // a sum or difference in a sentence
Exchange JsonFields(Dice& dice);     // "as JSON with the keys ..."
Exchange ToolUse(Dice& dice);        // a call, or a call, its result and the answer
/// A name that is told, small talk or sums between, and the question for it.
std::vector<Exchange> NameRemembered(Dice& dice);

}  // namespace hadal::default_model
