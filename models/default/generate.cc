// default_model_data: writes what hadal's default model learns from and is examined with. Every byte follows
// from the seed and the counts.
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "exchange.h"

namespace hadal::default_model {
namespace {

constexpr const char* kUsage =
    "default_model_data SEED CHATS CASES DIR\n"
    "Writes into DIR: train.jsonl (CHATS chats), held-out.jsonl (a chat for each twenty of them), "
    "suite.jsonl\n"
    "(about CASES questions that no chat of train.jsonl has, with what is expected).\n";

struct Kind {
  Exchange (*draw)(Dice&);
  int64_t weight;  // of a hundred questions; what is computed needs more practice than what is known
  int64_t cases;   // of a hundred of the suite, beside tools and names
};
const std::vector<Kind>& Kinds() {
  static const std::vector<Kind> kKinds = {
      {AboutVerbs, 9, 13}, {AboutErrors, 8, 10}, {AboutSettings, 8, 10}, {AboutHadal, 10, 12},
      {SmallTalk, 5, 4},   {Unknowable, 7, 6},   {Sum, 15, 9},           {Difference, 20, 9},
      {Product, 7, 7},     {WordProblem, 6, 4},  {JsonFields, 5, 8},
  };
  return kKinds;
}

/// An exchange of the split. A draw in twelve is of the smaller one, so that this many draws not finding it
/// is a bug.
Exchange DrawOf(Split split, Exchange (*draw)(Dice&), Dice& dice) {
  for (int64_t i = 0; i < 10000; ++i) {
    Exchange exchange = draw(dice);
    if (SplitOf(exchange.key) == split) return exchange;
  }
  HADAL_CHECK(false);
}

Exchange DrawAny(Split split, Dice& dice) {
  int64_t at = dice.Below(100);
  for (const Kind& kind : Kinds()) {
    at -= kind.weight;
    if (at < 0) return DrawOf(split, kind.draw, dice);
  }
  return DrawOf(split, Kinds().front().draw, dice);
}

/// A question that needs no tool where tools are offered; what is unknowable without them may not be so with
/// them.
Exchange DrawBesideTools(Split split, Dice& dice) {
  for (int64_t i = 0; i < 10000; ++i) {
    Exchange exchange = DrawAny(split, dice);
    if (exchange.category != "unknown") return exchange;
  }
  HADAL_CHECK(false);
}

Json ToJson(const std::vector<Exchange>& exchanges) {
  Json chat = {{"messages", Json::array()}};
  for (const Exchange& e : exchanges) {
    if (!e.tools.empty()) chat["tools"] = e.tools;
    for (const Json& message : e.messages) chat["messages"].push_back(message);
  }
  return chat;
}

bool AllOf(Split split, const std::vector<Exchange>& talk) {
  for (const Exchange& e : talk)
    if (SplitOf(e.key) != split) return false;
  return true;
}

/// A name that comes back: both its exchanges have one key, and what lies between is of either split by
/// chance.
std::vector<Exchange> DrawName(Split split, Dice& dice) {
  for (int64_t i = 0; i < 100000; ++i) {
    std::vector<Exchange> talk = NameRemembered(dice);
    if (AllOf(split, talk)) return talk;
  }
  HADAL_CHECK(false);
}

/// One chat: now and then with tools or a name, else one to four questions.
std::vector<Exchange> DrawChat(Split split, Dice& dice) {
  const int64_t form = dice.Below(100);
  if (form < 15) {
    std::vector<Exchange> talk = {DrawOf(split, ToolUse, dice)};
    if (dice.Chance(25)) talk.push_back(DrawBesideTools(split, dice));
    return talk;
  }
  if (form < 21) return DrawName(split, dice);
  std::vector<Exchange> talk;
  for (int64_t n = dice.Between(1, 4); n > 0; --n) talk.push_back(DrawAny(split, dice));
  return talk;
}

/// The last assistant turn becomes what is expected of the model.
Json ToCase(const std::vector<Exchange>& talk) {
  Json chat = ToJson(talk);
  const Json last = chat["messages"].back();
  chat["messages"].erase(chat["messages"].size() - 1);
  Json expect;
  if (last.contains("tool_calls")) {
    const Json& function = last["tool_calls"][0]["function"];
    expect["tool_call"] = {{"name", function["name"]},
                           {"arguments", Json::parse(function["arguments"].get<std::string>())}};
  } else if (talk.back().category == "json") {
    expect["json"] = Json::parse(last["content"].get<std::string>());
  } else {
    expect["exact"] = last["content"];
  }
  Json out = {{"category", talk.back().category}, {"messages", chat["messages"]}};
  if (chat.contains("tools")) out["tools"] = chat["tools"];
  out["expect"] = expect;
  return out;
}

std::string Suite(uint64_t seed, int64_t count) {
  std::string text;
  std::set<std::string> seen;
  uint64_t stream = uint64_t{2} << 40;
  const auto add = [&](int64_t share, auto&& draw) {
    for (int64_t i = 0, n = (share * count + 50) / 100, tries = 0; i < n && tries < 50 * n; ++tries) {
      Dice dice(seed, stream++);
      const std::string line = ToCase(draw(dice)).dump();
      if (!seen.insert(line).second) continue;
      text += line + "\n";
      ++i;
    }
  };
  for (const Kind& kind : Kinds())
    add(kind.cases, [&](Dice& dice) {
      std::vector<Exchange> talk;
      // One in four comes in the middle of a conversation.
      if (dice.Chance(25)) talk.push_back(DrawAny(Split::kTrain, dice));
      talk.push_back(DrawOf(Split::kHeldOut, kind.draw, dice));
      return talk;
    });
  add(10, [](Dice& dice) { return std::vector<Exchange>{DrawOf(Split::kHeldOut, ToolUse, dice)}; });
  add(4, [](Dice& dice) { return DrawName(Split::kHeldOut, dice); });
  return text;
}

Status Generate(uint64_t seed, int64_t chats, int64_t cases, const Path& dir) {
  std::string train, held_out;
  for (int64_t i = 0; i < chats; ++i) {
    Dice dice(seed, static_cast<uint64_t>(i));
    train += ToJson(DrawChat(Split::kTrain, dice)).dump() + "\n";
  }
  for (int64_t i = 0; i < chats / 20; ++i) {
    Dice dice(seed, (uint64_t{1} << 40) + static_cast<uint64_t>(i));
    held_out += ToJson(DrawChat(Split::kHeldOut, dice)).dump() + "\n";
  }
  std::filesystem::create_directories(dir);
  RETURN_IF_ERROR(WriteFileAtomic(dir / "train.jsonl", train));
  RETURN_IF_ERROR(WriteFileAtomic(dir / "held-out.jsonl", held_out));
  return WriteFileAtomic(dir / "suite.jsonl", Suite(seed, cases));
}

/// A whole number of an argument, at least `least`.
Result<int64_t> Number(const char* text, int64_t least) {
  const std::string_view digits = text;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
  if (error != std::errc() || end != digits.end() || value < least || value > 10'000'000)
    return InvalidArgument("'{}' is not a whole number from {} to 10000000\n{}", digits, least, kUsage);
  return value;
}

Status Main(int argc, char** argv) {
  if (argc != 5) return InvalidArgument("four arguments are expected\n{}", kUsage);
  ASSIGN_OR_RETURN(const int64_t seed, Number(argv[1], 0));
  ASSIGN_OR_RETURN(const int64_t chats, Number(argv[2], 20));
  ASSIGN_OR_RETURN(const int64_t cases, Number(argv[3], 1));
  return Generate(static_cast<uint64_t>(seed), chats, cases, argv[4]);
}

}  // namespace
}  // namespace hadal::default_model

int main(int argc, char** argv) {
  const hadal::Status done = hadal::default_model::Main(argc, argv);
  if (!done) std::fprintf(stderr, "default_model_data: %s\n", done.error().message.c_str());
  return done ? 0 : 2;
}
