// The default model, examined: every case of models/default/suite.jsonl over the API, at temperature 0.
#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/serve_fixture.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;

constexpr double kExactShare = 0.90;     // of all cases
constexpr double kAcceptedShare = 0.60;  // of the tokens that the prediction layer guesses

class DefaultModelTest : public ServeTest {
 protected:
  std::string ServedModel() override { return std::string(HADAL_DEFAULT_MODEL) + "/model"; }
  std::vector<std::string> MoreFlags() const override {
    return {"--max-running", "4", "--speculative", "mtp"};
  }

  /// The assistant's message to a case's messages and tools.
  json Answer(const json& test, const std::string& token) {
    json request = {
        {"model", "test"}, {"messages", test["messages"]}, {"temperature", 0}, {"max_tokens", 80}};
    if (test.contains("tools")) request["tools"] = test["tools"];
    const Reply reply = Curl("/v1/chat/completions", token, request.dump());
    EXPECT_EQ(reply.status, 200) << reply.body;
    const json answer = json::parse(reply.body, nullptr, false);
    return reply.status == 200 && !answer.is_discarded() ? answer["choices"][0]["message"] : json::object();
  }

  double Metric(const std::string& text, const std::string& name) {
    const size_t at = text.find("\n" + name + " ");
    EXPECT_NE(at, std::string::npos) << "/metrics has no " << name;
    return at == std::string::npos ? 0 : std::atof(text.c_str() + at + 1 + name.size());
  }
};

std::string TextOf(const json& message) {
  const auto content = message.find("content");
  return content != message.end() && content->is_string() ? content->get<std::string>() : std::string();
}

/// Whether the message is what the case expects: the very text, equal JSON, or the one call.
bool Meets(const json& message, const json& expect) {
  if (expect.contains("exact")) return TextOf(message) == expect["exact"].get<std::string>();
  if (expect.contains("json")) return json::parse(TextOf(message), nullptr, false) == expect["json"];
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->size() != 1) return false;
  const json& function = (*calls)[0]["function"];
  return function["name"] == expect["tool_call"]["name"] &&
         json::parse(function["arguments"].get<std::string>(), nullptr, false) ==
             expect["tool_call"]["arguments"];
}

TEST_F(DefaultModelTest, AnswersItsHeldOutQuestionsAndGuessesAhead) {
  std::istringstream suite(ReadFile(std::string(HADAL_DEFAULT_MODEL) + "/suite.jsonl").value());
  const std::string token = Token("examiner", "infer");
  struct Count {
    int right = 0, all = 0;
  };
  std::map<std::string, Count> counts;
  Count total;
  for (std::string line; std::getline(suite, line);) {
    const json test = json::parse(line);
    const json message = Answer(test, token);
    Count& count = counts[test["category"].get<std::string>()];
    const bool met = Meets(message, test["expect"]);
    for (Count* c : {&count, &total}) {
      ++c->all;
      c->right += met;
    }
    if (!met)
      std::printf("%s\n  expected %s\n  got      %s\n", test["messages"].back().dump().c_str(),
                  test["expect"].dump().c_str(), message.dump().c_str());
  }
  for (const auto& [category, count] : counts)
    std::printf("%-14s %3d of %3d\n", category.c_str(), count.right, count.all);
  std::printf("%-14s %3d of %3d\n", "all", total.right, total.all);
  EXPECT_GE(total.all, 100);
  EXPECT_GE(total.right, kExactShare * total.all);

  const std::string metrics = Curl("/metrics", Token("metrics", "metrics")).body;
  const double drafted = Metric(metrics, "hadal_speculative_draft_tokens_total");
  const double accepted = Metric(metrics, "hadal_speculative_accepted_tokens_total");
  std::printf("guesses accepted: %.0f of %.0f\n", accepted, drafted);
  EXPECT_GE(drafted, 500);
  EXPECT_GE(accepted, kAcceptedShare * drafted);
}

}  // namespace
}  // namespace hadal::e2e
