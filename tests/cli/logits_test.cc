#include <gmock/gmock.h>

#include <cmath>

#include "cli/program.h"
#include "model/golden_util.h"

namespace hadal::e2e {
namespace {

using golden::Must;

class LogitsVerb : public CliTest {
 protected:
  static std::string Joined(const std::vector<int32_t>& ids) {
    std::string text;
    for (const int32_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
    return text;
  }
};

TEST_F(LogitsVerb, OneBatchOfEveryPromptMatchesTheGoldenResults) {
  for (const std::string& name : golden::Folders()) {
    SCOPED_TRACE(name);
    const auto file = Must(Checkpoint::OpenFile(golden::Folder(name) / "golden.safetensors"));
    std::vector<std::string> arguments{"logits",   "--model", Golden(name), "--compute",           "f32",
                                       "--greedy", "32",      "--out",      File("l.safetensors"), "--json"};
    std::vector<golden::Prompt> prompts;
    for (int i = 0; !golden::ReadPrompt(*file, i).ids.empty(); ++i) {
      prompts.push_back(golden::ReadPrompt(*file, i));
      arguments.insert(arguments.end(), {"--ids", Joined(prompts.back().ids)});
    }
    const Outcome outcome = Hadal(arguments);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    EXPECT_TRUE(outcome.out.starts_with("{\"out\":")) << outcome.out;
    const auto got = Must(Checkpoint::OpenFile(folder_ / "l.safetensors"));
    EXPECT_EQ(got->tensors().size(), 2 * prompts.size());
    for (size_t p = 0; p < prompts.size(); ++p) {
      const TensorInfo* info = got->Find("logits." + std::to_string(p));
      ASSERT_NE(info, nullptr);
      ASSERT_EQ(info->shape[0], static_cast<int64_t>(prompts[p].ids.size()));
      const size_t vocab = static_cast<size_t>(info->shape[1]);
      const std::vector<float> logits = Must(ReadF32(*got, info->name));
      for (size_t i = 0; i < prompts[p].positions.size(); ++i)
        for (size_t v = 0; v < vocab; ++v)
          ASSERT_NEAR(logits[static_cast<size_t>(prompts[p].positions[i]) * vocab + v],
                      prompts[p].logits[i * vocab + v], 1e-3);
      EXPECT_THAT(Must(ReadI64(*got, "greedy." + std::to_string(p))),
                  testing::ElementsAreArray(prompts[p].greedy));
    }
  }
}

TEST_F(LogitsVerb, IdsFromAFileLastPositionsAndHiddenStates) {
  Write("ids.txt", "[5, 6,\n 7 8]\n");
  const std::vector<std::string> common{"logits", "--model", Golden("v3-tiny-bf16")};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return Hadal(more);
  };
  ASSERT_EQ(with({"--ids", "5,6,7,8", "--hidden", "--out", File("all.st")}).code, 0);
  ASSERT_EQ(with({"--ids", "@" + File("ids.txt"), "--hidden", "--last", "2", "--chunk", "1", "--threads", "1",
                  "--out", File("last.st")})
                .code,
            0);
  const auto all = Must(Checkpoint::OpenFile(folder_ / "all.st")),
             last = Must(Checkpoint::OpenFile(folder_ / "last.st"));
  ASSERT_EQ(all->tensors().size(), last->tensors().size());
  ASSERT_GT(all->tensors().size(), 1u);
  for (const TensorInfo& info : last->tensors()) {
    EXPECT_EQ(info.shape[0], 2) << info.name;
    const std::vector<float> short_one = Must(ReadF32(*last, info.name)),
                             long_one = Must(ReadF32(*all, info.name));
    ASSERT_EQ(long_one.size(), 2 * short_one.size());
    for (size_t i = 0; i < short_one.size(); ++i)
      ASSERT_EQ(short_one[i], long_one[short_one.size() + i]) << info.name << " " << i;  // the same bits
  }
}

}  // namespace
}  // namespace hadal::e2e
