#include <gmock/gmock.h>
#include <sys/stat.h>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

using testing::HasSubstr;

class Conversation : public CliTest {
 protected:
  std::vector<std::string> Home() {
    return {"HOME=" + folder_.string(), "XDG_STATE_HOME=" + File("state"), "TERM=xterm"};
  }
  std::vector<std::string> Chat(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"run", "--model", Model(), "--greedy", "--ignore-eos"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

TEST_F(Conversation, CtrlCStopsTheAnswerAndNotTheProgram) {
  // Long enough that it cannot end by itself before the test interrupts it.
  Terminal terminal(Chat({"--context", "2500", "--kernels", "ref", "--threads", "1", "-v"}), Home());
  ASSERT_TRUE(terminal.WaitFor("> ")) << terminal.shown();
  terminal.Type("hello\r");
  ASSERT_TRUE(terminal.WaitFor("hello"));
  const size_t before = terminal.shown().size();
  // The answer streams: text comes while it is being made.
  for (int i = 0; i < 200 && terminal.shown().size() < before + 20; ++i)
    terminal.WaitFor("never shown", 0.05);
  EXPECT_GE(terminal.shown().size(), before + 20);
  terminal.Type("\x03");
  ASSERT_TRUE(terminal.WaitFor("(stopped)")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("answer ")) << terminal.shown();
  EXPECT_TRUE(terminal.IsRunning());
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("/help\r");
  ASSERT_TRUE(terminal.WaitFor("forget the conversation")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("/exit\r");
  EXPECT_EQ(terminal.Wait(), 0) << terminal.shown();
}

TEST_F(Conversation, TurnsBuildOnEachOtherAndReuseTheCache) {
  Terminal terminal(Chat({"--max-tokens", "5", "-v"}), Home());
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("hello\r");
  ASSERT_TRUE(terminal.WaitFor("(0 kept)")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("and more\r");
  ASSERT_TRUE(terminal.WaitFor("tokens (")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor(" kept)")) << terminal.shown();
  EXPECT_EQ(terminal.shown().find("(0 kept)", terminal.shown().find("and more")), std::string::npos);
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("/reset\r");
  ASSERT_TRUE(terminal.WaitFor("(forgotten)"));
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("/system Be brief.\r");
  ASSERT_TRUE(terminal.WaitFor("(begun anew)"));
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("/system\r");
  ASSERT_TRUE(terminal.WaitFor("Be brief."));
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("/nonsense\r");
  ASSERT_TRUE(terminal.WaitFor("there is no command /nonsense"));
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("\x04");
  EXPECT_EQ(terminal.Wait(), 0) << terminal.shown();
}

TEST_F(Conversation, CtrlCClearsTheLineAndContinuedLinesAreOneMessage) {
  Terminal terminal(Chat({"--max-tokens", "3"}), Home());
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("/ex\x03");
  ASSERT_TRUE(terminal.WaitFor("> ")) << terminal.shown();
  EXPECT_TRUE(terminal.IsRunning());
  terminal.Type("\x03");
  ASSERT_TRUE(terminal.WaitFor("(/exit or Ctrl-D leaves)")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("one \\\r");
  ASSERT_TRUE(terminal.WaitFor(". ")) << terminal.shown();
  terminal.Type("zwölf\r");
  ASSERT_TRUE(terminal.WaitFor("> ")) << terminal.shown();
  terminal.Type("/exit\r");
  EXPECT_EQ(terminal.Wait(), 0) << terminal.shown();
}

TEST_F(Conversation, HistoryIsKeptForItsOwner) {
  {
    Terminal terminal(Chat({"--max-tokens", "2"}), Home());
    ASSERT_TRUE(terminal.WaitFor("> "));
    terminal.Type("remember this\r");
    ASSERT_TRUE(terminal.WaitFor("> ")) << terminal.shown();
    // Killed, not ended: what was entered is on the disk already.
  }
  struct stat info = {};
  ASSERT_EQ(stat(File("state/hadal/history").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_THAT(Contents("state/hadal/history"), HasSubstr("remember"));
  Terminal terminal(Chat({"--max-tokens", "2"}), Home());
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("\x10");  // Ctrl-P: the line before
  EXPECT_TRUE(terminal.WaitFor("remember this")) << terminal.shown();
}

TEST_F(Conversation, TooLongATurnIsRefusedAndTheNextOneWorks) {
  Terminal terminal(Chat({"--max-tokens", "2", "--context", "16"}), Home());
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("a message that is much longer than sixteen tokens of context can hold\r");
  ASSERT_TRUE(terminal.WaitFor("the context is 16")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("hi\r");
  ASSERT_TRUE(terminal.WaitFor("> ")) << terminal.shown();
  EXPECT_EQ(terminal.shown().find("hadal: ", terminal.shown().rfind("hi")), std::string::npos);
  terminal.Type("/exit\r");
  EXPECT_EQ(terminal.Wait(), 0);
}

TEST_F(Conversation, OneAnswerInATerminalShowsThePlanAndStops) {
  Terminal terminal(Chat({"--context", "2500", "--kernels", "ref", "--threads", "1", "hello"}), Home());
  ASSERT_TRUE(terminal.WaitFor("of memory")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("context 2500")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("means nothing")) << terminal.shown();
  const size_t before = terminal.shown().size();
  for (int i = 0; i < 200 && terminal.shown().size() < before + 20; ++i)
    terminal.WaitFor("never shown", 0.05);
  terminal.Type("\x03");
  EXPECT_EQ(terminal.Wait(), 1) << "an interrupted answer";
}

TEST_F(Conversation, CtrlCWhileAFolderIsWrittenLeavesNothing) {
  std::filesystem::create_directory(folder_ / "out");
  Terminal terminal({"synth", "--shape", "v3-small", "--out", File("out/model")}, Home());
  for (int i = 0; i < 1000 && std::filesystem::is_empty(folder_ / "out"); ++i)
    terminal.WaitFor("never shown", 0.005);
  ASSERT_FALSE(std::filesystem::is_empty(folder_ / "out")) << terminal.shown();
  terminal.Type("\x03");
  EXPECT_EQ(terminal.Wait(), 2) << terminal.shown();
  EXPECT_THAT(terminal.shown(), HasSubstr("hadal: "));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "out"));
}

}  // namespace
}  // namespace hadal::e2e
