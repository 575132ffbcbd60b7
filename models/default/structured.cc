// Answers with a form: JSON with given keys, tool calls, and what a tool's result says.
#include <fmt/format.h>

#include <algorithm>

#include "exchange.h"

namespace hadal::default_model {
namespace {

const std::vector<std::string> kNames = {
    "Ann",   "Ben",  "Clara", "David", "Emma",  "Felix", "Grace", "Henry",  "Ida",   "Jack",  "Kate",  "Leo",
    "Maria", "Nora", "Oscar", "Paul",  "Rosa",  "Sam",   "Tina",  "Victor", "Wendy", "Alice", "Bob",   "Carl",
    "Diana", "Eric", "Fiona", "Hugo",  "Irene", "Jonas", "Lena",  "Max",    "Olga",  "Peter", "Simon", "Tom"};
const std::vector<std::string> kCities = {
    "Paris",  "Rome",   "Berlin", "Oslo",   "Madrid", "Vienna", "Lisbon", "Dublin", "Prague",
    "Athens", "Cairo",  "Tokyo",  "Delhi",  "Lima",   "Quito",  "Boston", "Denver", "London",
    "Milan",  "Munich", "Geneva", "Zurich", "Hanoi",  "Seoul",  "Kyoto",  "Sydney", "Perth",
    "Dakar",  "Tunis",  "Riga",   "Warsaw", "Ottawa", "Havana", "Bergen", "Turin",  "Porto"};
const std::vector<std::string> kColours = {"red",   "blue",   "green", "white",
                                           "black", "yellow", "brown", "grey"};
const std::vector<std::string> kServices = {"hadal",    "nginx",   "prometheus", "haproxy",
                                            "postgres", "grafana", "redis",      "cron"};
const std::vector<std::string> kMachines = {"alpha", "beta",  "gamma", "delta",
                                            "node1", "node2", "node3", "node7"};

/// Something said, and what its keys are.
struct Statement {
  std::string text;
  std::vector<std::pair<std::string, Json>> fields;
};

Statement Say(Dice& dice) {
  const std::string& name = dice.Of(kNames);
  const std::string& city = dice.Of(kCities);
  const int64_t n = dice.Chance(25) ? dice.Between(2, 9) : dice.Between(10, 99);
  switch (dice.Below(6)) {
    case 0:
      return {fmt::format("{} is {} years old.", name, n), {{"name", name}, {"age", n}}};
    case 1:
      return {fmt::format("{} lives in {}.", name, city), {{"name", name}, {"city", city}}};
    case 2:
      return {fmt::format("{} lives in {} and is {} years old.", name, city, n),
              {{"name", name}, {"city", city}, {"age", n}}};
    case 3: {
      const std::string& colour = dice.Of(kColours);
      return {fmt::format("{} likes {}.", name, colour), {{"name", name}, {"colour", colour}}};
    }
    case 4:
      return {fmt::format("It is {} degrees in {}.", n, city), {{"city", city}, {"degrees", n}}};
    default: {
      const std::string& service = dice.Of(kServices);
      return {fmt::format("{} runs on port {}.", service, n), {{"service", service}, {"port", n}}};
    }
  }
}

std::string KeyList(const Statement& said) {
  std::string list;
  for (size_t i = 0; i < said.fields.size(); ++i)
    list += (i == 0 ? "" : i + 1 == said.fields.size() ? " and " : ", ") + said.fields[i].first;
  return list;
}

/// Keys in another order, or all of them in the order of the sentence.
void Turn(Statement& said, Dice& dice) {
  const int64_t turns = dice.Below(static_cast<int64_t>(said.fields.size()));
  std::rotate(said.fields.begin(), said.fields.begin() + turns, said.fields.end());
}

/// {"a": 1, "b": "x"} on a line.
std::string JsonLine(const std::vector<std::pair<std::string, Json>>& fields) {
  std::string text;
  for (const auto& [key, value] : fields)
    text += fmt::format("{}\"{}\": {}", text.empty() ? "{" : ", ", key, value.dump());
  return text + "}";
}

/// A tool, and what it is asked and answers.
struct Tool {
  std::string name, description, argument;
  const std::vector<std::string>* values;
  std::vector<std::string> questions;  // {}: the value
  std::vector<std::pair<std::string, std::string>>
      outcomes;  // the result's key, and the answer: value, then result
};

const std::vector<Tool>& Tools() {
  static const std::vector<Tool> kTools = {
      {"get_weather",
       "The weather of a city",
       "city",
       &kCities,
       {"What is the weather in {}?", "How is the weather in {}?", "Tell me the weather in {}.",
        "Is it warm in {}?", "Weather in {}, please.", "How warm is it in {}?"},
       {{"degrees", "It is {1} degrees in {0}."}}},
      {"get_time",
       "The time in a city",
       "city",
       &kCities,
       {"What time is it in {}?", "Tell me the time in {}.", "How late is it in {}?", "Time in {}, please.",
        "What is the time in {}?"},
       {{"hour", "It is {1} o'clock in {0}."}}},
      {"get_load",
       "The load of a machine in percent",
       "machine",
       &kMachines,
       {"What is the load of {}?", "How busy is {}?", "Tell me the load of {}.", "Is {} busy?",
        "Load of {}, please."},
       {{"percent", "The load of {0} is {1} percent."}}},
      {"restart_service",
       "Restarts a service",
       "service",
       &kServices,
       {"Restart {}.", "Please restart {}.", "Can you restart {}?", "{} hangs. Restart it.",
        "Start {} again."},
       {{"seconds", "{0} was restarted in {1} seconds."}}},
      {"find_person",
       "Looks a person up",
       "name",
       &kNames,
       {"Who is {}?", "Look {} up.", "Find {}.", "Which room has {}?", "Where does {} sit?"},
       {{"room", "{0} is in room {1}."}}},
  };
  return kTools;
}

Json Describe(const Tool& tool) {
  return {{"type", "function"},
          {"function",
           {{"name", tool.name},
            {"description", tool.description},
            {"parameters",
             {{"type", "object"},
              {"properties", {{tool.argument, {{"type", "string"}}}}},
              {"required", {tool.argument}}}}}}};
}

Json Calls(const Tool& tool, const std::string& value) {
  const Json call = {{"id", "call_1"},
                     {"type", "function"},
                     {"function", {{"name", tool.name}, {"arguments", JsonLine({{tool.argument, value}})}}}};
  return {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", Json::array({call})}};
}

}  // namespace

Exchange JsonFields(Dice& dice) {
  static const std::vector<std::string> kForms = {
      "Answer as JSON with the keys {0}: {1}", "As JSON with the keys {0}: {1}",
      "{1} Write that as JSON with the keys {0}.", "{1} Answer as JSON with the keys {0}.",
      "Write JSON with the keys {0}: {1}"};
  static const std::vector<std::string> kSums = {"Answer as JSON with the keys {0}: what is {1}?",
                                                 "As JSON with the keys {0}: {1}",
                                                 "What is {1}? Answer as JSON with the keys {0}."};
  if (dice.Chance(20)) {
    const int64_t a = dice.Between(0, 99), b = dice.Between(0, 99 - a);
    Statement sum{fmt::format("{} + {}", a, b), {{"a", a}, {"b", b}, {"sum", a + b}}};
    return AskAndAnswer("json", fmt::format("sum {} {}", std::min(a, b), std::max(a, b)),
                        fmt::format(fmt::runtime(dice.Of(kSums)), KeyList(sum), sum.text),
                        JsonLine(sum.fields));
  }
  Statement said = Say(dice);
  Turn(said, dice);
  return AskAndAnswer("json", "json: " + said.text,
                      fmt::format(fmt::runtime(dice.Of(kForms)), KeyList(said), said.text),
                      JsonLine(said.fields));
}

Exchange ToolUse(Dice& dice) {
  const std::vector<Tool>& all = Tools();
  const auto asked = static_cast<size_t>(dice.Below(static_cast<int64_t>(all.size())));
  const Tool& tool = all[asked];
  const std::string& value = dice.Of(*tool.values);
  const auto form = static_cast<size_t>(dice.Below(static_cast<int64_t>(tool.questions.size())));
  Exchange exchange;
  exchange.category = "tool call";
  exchange.key = fmt::format("tool {} {} {}", tool.name, value, form);
  // The tool that is asked for among others.
  const int64_t offered = dice.Between(1, 3), first = dice.Between(0, offered - 1);
  for (int64_t i = 0; i < offered; ++i)
    exchange.tools.push_back(Describe(
        all[(asked + all.size() + static_cast<size_t>(i) - static_cast<size_t>(first)) % all.size()]));
  exchange.messages = {UserSays(Fill(tool.questions[form], {value})), Calls(tool, value)};
  if (dice.Chance(50)) {
    const int64_t result = dice.Between(1, 60);
    const auto& [key, answer] = tool.outcomes.front();
    exchange.category = "tool result";
    exchange.messages.push_back(
        {{"role", "tool"}, {"tool_call_id", "call_1"}, {"content", JsonLine({{key, result}})}});
    exchange.messages.push_back(AssistantSays(fmt::format(fmt::runtime(answer), value, result)));
  }
  return exchange;
}

std::vector<Exchange> NameRemembered(Dice& dice) {
  static const std::vector<std::string> kTold = {"My name is {}.", "I am {}.", "Hello, I am {}.",
                                                 "Hi, my name is {}.", "Call me {}."};
  static const std::vector<std::string> kAsked = {"What is my name?", "Who am I?", "Do you know my name?",
                                                  "Do you remember my name?"};
  const std::string& name = dice.Of(kNames);
  const std::string& told = dice.Of(kTold);
  std::vector<Exchange> talk;
  talk.push_back(AskAndAnswer("name", "name: " + told + name, Fill(told, {name}),
                              fmt::format("Nice to meet you, {}.", name)));
  for (int64_t between = dice.Below(3); between > 0; --between)
    talk.push_back(dice.Chance(50) ? Sum(dice) : AboutHadal(dice));
  talk.push_back(
      AskAndAnswer("name", "name: " + told + name, dice.Of(kAsked), fmt::format("Your name is {}.", name)));
  return talk;
}

}  // namespace hadal::default_model
