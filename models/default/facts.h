// What the model is to know about hadal. True as of the version it stands beside: the texts follow --help and
// docs/.
#pragma once

#include <string>
#include <vector>

namespace hadal::default_model {

struct VerbFact {
  std::string verb;                // as typed: "bench serve"
  std::string purpose;             // "hadal VERB " + this + "."
  std::string example;             // a command
  std::vector<std::string> tasks;  // "How do I " + this + "?"
};
struct ErrorFact {
  std::vector<std::string> names;  // how people quote it
  std::string meaning;             // a sentence or two: what it means, what to do
};
struct SettingFact {
  std::vector<std::string> things;  // "Where do I set " + this + "?"
  std::string answer;
};
struct PlainFact {
  std::vector<std::string> questions;
  std::string answer;
};

const std::vector<VerbFact>& Verbs();
const std::vector<ErrorFact>& Errors();
const std::vector<SettingFact>& SettingsOfHadal();
const std::vector<PlainFact>& PlainFacts();
const std::vector<PlainFact>& Talk();

}  // namespace hadal::default_model
