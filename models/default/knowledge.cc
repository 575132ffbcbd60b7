// Questions about hadal in many wordings, small talk, and what a small model has to leave unanswered.
#include <fmt/format.h>

#include "exchange.h"
#include "facts.h"

namespace hadal::default_model {
namespace {

const std::vector<std::string> kVerbForms = {
    "What does hadal {} do?",    "What is hadal {} for?",    "Explain hadal {}.",
    "What does the verb {} do?", "When do I need hadal {}?", "What is the {} verb?",
    "Why would I use hadal {}?", "Tell me about hadal {}.",  "hadal {}?",
    "Describe hadal {}.",        "What is hadal {}?"};
const std::vector<std::string> kTaskForms = {"How do I {}?",
                                             "How can I {}?",
                                             "Which verb do I use to {}?",
                                             "I want to {}.",
                                             "What command lets me {}?",
                                             "Can hadal {}?",
                                             "I need to {}.",
                                             "What do I type to {}?"};
const std::vector<std::string> kExampleForms = {"Show me an example of hadal {}.",
                                                "Give me an example of hadal {}.", "How is hadal {} used?",
                                                "What is an example of hadal {}?", "How do I use hadal {}?"};
const std::vector<std::string> kErrorForms = {"What does '{}' mean?",
                                              "I get '{}'. What now?",
                                              "hadal says: {}",
                                              "What do I do about '{}'?",
                                              "Why does hadal say '{}'?",
                                              "Help: {}",
                                              "What is '{}'?",
                                              "The message is '{}'. Why?",
                                              "I see {}. What is wrong?",
                                              "What does {} mean?",
                                              "Why do I get {}?"};
const std::vector<std::string> kSettingForms = {
    "Where do I set {}?",      "How do I set {}?",  "How do I change {}?",  "Which flag sets {}?",
    "Where is {} configured?", "What controls {}?", "How can I choose {}?", "Can I change {}?"};
const std::vector<std::string> kUnknownForms = {"What is the {} of {}?",     "Tell me the {} of {}.",
                                                "Do you know the {} of {}?", "What about the {} of {}?",
                                                "How is the {} of {}?",      "Explain the {} of {}."};
const std::vector<std::string> kUnknownThings = {"weather",  "capital", "population", "president", "history",
                                                 "price",    "size",    "age",        "colour",    "king",
                                                 "language", "height",  "name",       "news",      "culture",
                                                 "map",      "future",  "food",       "music",     "winner"};
const std::vector<std::string> kUnknownOf = {
    "France",   "Japan",       "the world", "the moon", "Berlin",   "London", "gold",    "the election",
    "the game", "my dog",      "Brazil",    "a car",    "the sun",  "Rome",   "Canada",  "China",
    "silver",   "the company", "my friend", "India",    "Egypt",    "Norway", "a house", "the war",
    "Peru",     "Spain",       "Mars",      "the film", "the book", "Oslo"};
const std::vector<std::string> kUnknownPlain = {"Who won the election?",   "What will happen tomorrow?",
                                                "Write a poem.",           "Who wrote Hamlet?",
                                                "What is love?",           "What time is it?",
                                                "What day is it?",         "Translate this into French.",
                                                "Who is the best player?", "Where do I live?",
                                                "Write me a program.",     "What is the meaning of life?",
                                                "Should I buy gold?",      "Who is my neighbour?",
                                                "What should I cook?",     "Is it going to rain?",
                                                "How far is the moon?",    "When was the war?",
                                                "Who invented the car?",   "Sing a song.",
                                                "What did I eat?",         "Which film should I watch?",
                                                "How old is the sun?",     "Can you drive a car?"};
const std::vector<std::string> kUnknownWho = {"Who is {}?",
                                              "Who was {}?",
                                              "What do you think of {}?",
                                              "Tell me about {}.",
                                              "Where is {}?",
                                              "Do you like {}?",
                                              "When was {}?",
                                              "Why is {} so famous?",
                                              "What happened to {}?",
                                              "Write a text about {}.",
                                              "Is {} good?",
                                              "How do I get to {}?",
                                              "Can you explain {}?",
                                              "What is {}?"};
const std::vector<std::string> kUnknownWhom = {
    "Napoleon",  "Einstein", "Mozart",       "the king", "my brother", "my teacher",   "Shakespeare",
    "football",  "chess",    "the weather",  "my car",   "Paris",      "New York",     "the bank",
    "bread",     "a horse",  "the internet", "Linux",    "Microsoft",  "a black hole", "gravity",
    "music",     "art",      "the news",     "love",     "money",      "a cat",        "the stock market",
    "chemistry", "history",  "a sandwich",   "Africa"};
// What a tool would tell, where there is none.
const std::vector<std::string> kUnknownNow = {"What is the weather in {}?", "What time is it in {}?",
                                              "Tell me the time in {}.",    "How warm is it in {}?",
                                              "Is it warm in {}?",          "How many people live in {}?"};
const std::vector<std::string> kUnknownWhere = {"Paris", "Rome",  "Berlin", "Oslo",   "Madrid", "London",
                                                "Tokyo", "Delhi", "Boston", "Lisbon", "Cairo",  "Seoul"};
constexpr const char* kUnknown =
    "I do not know that. I am a small model: ask me about hadal, or give me a small sum.";

/// An exchange of a fact: a wording of the form, and its key.
Exchange Ask(Dice& dice, std::string category, const std::string& question, std::string answer) {
  int64_t wording = 0;
  std::string asked = Reword(question, dice, wording);
  // Two wordings may read alike: the text itself is what must not be shared.
  std::string key = category + ": " + asked;
  return AskAndAnswer(std::move(category), std::move(key), std::move(asked), std::move(answer));
}

Exchange OfPlain(Dice& dice, const std::string& category, const std::vector<PlainFact>& facts) {
  const PlainFact& fact = dice.Of(facts);
  return Ask(dice, category, dice.Of(fact.questions), fact.answer);
}

}  // namespace

Exchange AboutVerbs(Dice& dice) {
  const VerbFact& verb = dice.Of(Verbs());
  const int64_t kind = dice.Below(10);
  if (kind < 4)
    return Ask(dice, "verb", Fill(dice.Of(kVerbForms), {verb.verb}),
               fmt::format("hadal {} {}.", verb.verb, verb.purpose));
  if (kind < 8)
    return Ask(dice, "verb", Fill(dice.Of(kTaskForms), {dice.Of(verb.tasks)}),
               fmt::format("With hadal {}.", verb.verb));
  return Ask(dice, "verb", Fill(dice.Of(kExampleForms), {verb.verb}), verb.example);
}

Exchange AboutErrors(Dice& dice) {
  const ErrorFact& error = dice.Of(Errors());
  return Ask(dice, "error", Fill(dice.Of(kErrorForms), {dice.Of(error.names)}), error.meaning);
}

Exchange AboutSettings(Dice& dice) {
  const SettingFact& setting = dice.Of(SettingsOfHadal());
  return Ask(dice, "setting", Fill(dice.Of(kSettingForms), {dice.Of(setting.things)}), setting.answer);
}

Exchange AboutHadal(Dice& dice) { return OfPlain(dice, "hadal", PlainFacts()); }

Exchange SmallTalk(Dice& dice) {
  // "A question: thanks!" is no small talk: it has wordings of its own.
  const PlainFact& talk = dice.Of(Talk());
  std::string said = dice.Of(talk.questions);
  switch (dice.Below(6)) {
    case 0:
      said = "Oh. " + said;
      break;
    case 1:
      said = "Well. " + said;
      break;
    case 2:
      said += " :-)";
      break;
    case 3:
      said = Typed(said);
      break;
    default:
      break;
  }
  return AskAndAnswer("talk", "talk: " + said, said, talk.answer);
}

Exchange Unknowable(Dice& dice) {
  const int64_t kind = dice.Below(10);
  if (kind < 2) return Ask(dice, "unknown", dice.Of(kUnknownPlain), kUnknown);
  if (kind < 5) return Ask(dice, "unknown", Fill(dice.Of(kUnknownWho), {dice.Of(kUnknownWhom)}), kUnknown);
  if (kind < 6) return Ask(dice, "unknown", Fill(dice.Of(kUnknownNow), {dice.Of(kUnknownWhere)}), kUnknown);
  return Ask(dice, "unknown", Fill(dice.Of(kUnknownForms), {dice.Of(kUnknownThings), dice.Of(kUnknownOf)}),
             kUnknown);
}

}  // namespace hadal::default_model
