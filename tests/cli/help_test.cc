// Every page of --help.
#include <gmock/gmock.h>

#include <sstream>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

using testing::HasSubstr;
using Words = std::vector<std::string>;

size_t Characters(const std::string& line) {
  size_t count = 0;
  for (const char c : line) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

std::string Joined(const Words& words) {
  std::string text = "hadal";
  for (const std::string& word : words) text += " " + word;
  return text;
}

/// The names below "Subcommands:".
Words VerbsOf(const std::string& page) {
  Words verbs;
  std::istringstream lines(page.substr(std::min(page.find("\nSubcommands:\n"), page.size())));
  std::string line;
  std::getline(lines, line);
  std::getline(lines, line);
  while (std::getline(lines, line) && line.starts_with("  "))
    if (line[2] != ' ') verbs.push_back(line.substr(2, line.find(' ', 2) - 2));
  return verbs;
}

std::string CheckPage(Words words) {
  words.push_back("--help");
  const Outcome outcome = Hadal(words);
  EXPECT_EQ(outcome.code, 0) << Joined(words);
  EXPECT_EQ(outcome.err, "") << Joined(words);
  EXPECT_THAT(outcome.out, HasSubstr("Usage: ")) << Joined(words);
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(Characters(line), 100u) << Joined(words) << "\n" << line;
  return outcome.out;
}

TEST(Help, EveryPageFitsAndEveryVerbHasAnExample) {
  size_t pages = 0;
  std::vector<std::pair<Words, std::string>> pending{{{}, ""}};  // a verb, and the page above it
  while (!pending.empty()) {
    const auto [words, above] = pending.back();
    pending.pop_back();
    const std::string page = CheckPage(words);
    ++pages;
    const Words verbs = VerbsOf(page);
    for (const std::string& verb : verbs) {
      Words below = words;
      below.push_back(verb);
      pending.emplace_back(below, page);
    }
    if (!verbs.empty() || words.empty()) continue;
    // Behind "Example", here or on the page above.
    const std::string here = page.substr(std::min(page.find("Example"), page.size()));
    const std::string there = above.substr(std::min(above.find("Example"), above.size()));
    EXPECT_THAT(here + there, HasSubstr(Joined(words))) << "there is no example of " << Joined(words);
  }
  EXPECT_GE(pages, 25u);
}

}  // namespace
}  // namespace hadal::e2e
