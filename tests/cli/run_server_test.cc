// hadal run --server: against hadal serve, and against a service that is busy.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "cli/serve_fixture.h"

namespace hadal::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;

class RunServer : public ServeTest {
 protected:
  std::vector<std::string> Words(std::vector<std::string> more, const std::string& token = "token") {
    std::vector<std::string> words{"run", "--server", "https://" + address_, "--ca", File("state/ca.crt")};
    if (!token.empty()) words.insert(words.end(), {"--token-file", File(token)});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

TEST_F(RunServer, AnswersAsTheModelHereDoes) {
  Write("token", Token("a", "infer") + "\n");
  const Outcome far = Hadal(Words({"--greedy", "--ignore-eos", "--max-tokens", "9", "-v", "hello"}));
  ASSERT_EQ(far.code, 0) << far.err;
  const Outcome here =
      Hadal({"run", "--model", Model(), "--greedy", "--ignore-eos", "--max-tokens", "9", "--json", "hello"});
  EXPECT_EQ(far.out, nlohmann::json::parse(here.out)["text"].get<std::string>() + "\n");
  EXPECT_THAT(far.err, HasSubstr("answer 9 tokens"));

  const Outcome json = Hadal(Words({"--json", "--max-tokens", "4", "--ignore-eos", "--seed", "5", "hello"}));
  ASSERT_EQ(json.code, 0) << json.err;
  const auto object = nlohmann::json::parse(json.out);
  EXPECT_EQ(object["finish_reason"], "length");
  EXPECT_EQ(object["generated_tokens"], 4);
  EXPECT_EQ(object["seed"], 5);
}

TEST_F(RunServer, RefusalsSayWhatToDo) {
  Write("token", Token("a", "metrics") + "\n");
  ExpectFailure(Hadal(Words({"--server-model", "test", "x"})), "needs the scope infer");
  ExpectFailure(Hadal(Words({"x"}, "")), "hadal token issue");
  Write("token", Token("b", "infer") + "\n");
  ExpectFailure(Hadal(Words({"--server-model", "other", "x"})), "404");
  ExpectFailure(Hadal(Words({"--raw", "x"})), "--raw");
  ExpectFailure(Hadal({"run", "--server", "https://" + address_, "--token-file", File("token"), "x"}),
                "certificate");
  ExpectFailure(Hadal({"run", "--server", "http://models.example", "--token-file", File("token"), "x"}),
                "HTTP");
  const Outcome variable =
      Hadal(Words({"--max-tokens", "2", "x"}, ""), {.environment = {"HADAL_TOKEN=" + Token("c", "infer")}});
  EXPECT_EQ(variable.code, 0) << variable.err;
}

TEST_F(RunServer, AConversationWhoseAnswersCanBeStopped) {
  Write("token", Token("a", "infer") + "\n");
  const std::vector<std::string> home{"HOME=" + folder_.string(), "XDG_STATE_HOME=" + File("home"),
                                      "TERM=xterm"};
  Terminal terminal(Words({"--greedy", "--ignore-eos", "-v"}), home);
  ASSERT_TRUE(terminal.WaitFor("> ")) << terminal.shown();
  terminal.Type("hello\r");
  ASSERT_TRUE(terminal.WaitFor("hello"));
  const size_t before = terminal.shown().size();
  for (int i = 0; i < 200 && terminal.shown().size() < before + 20; ++i)
    terminal.WaitFor("never shown", 0.05);
  terminal.Type("\x03");
  ASSERT_TRUE(terminal.WaitFor("(stopped)")) << terminal.shown();
  ASSERT_TRUE(terminal.WaitFor("> "));
  EXPECT_TRUE(terminal.IsRunning());
  terminal.Type("/reset\r");
  ASSERT_TRUE(terminal.WaitFor("(forgotten)"));
  terminal.Type("/exit\r");
  EXPECT_EQ(terminal.Wait(), 0) << terminal.shown();
}

/// A service on loopback, without TLS, that gives each connection the next of the responses.
class ScriptedService {
 public:
  explicit ScriptedService(std::vector<std::string> responses) : responses_(std::move(responses)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { Run(); });
  }
  ~ScriptedService() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  const std::string& url() const { return url_; }

 private:
  void Run() {
    for (const std::string& response : responses_) {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      std::string request;
      char buffer[4096];
      // All of the head, and of the body as much as its Content-Length says.
      for (size_t need = std::string::npos; request.size() < need;) {
        const ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got <= 0) break;
        request.append(buffer, static_cast<size_t>(got));
        const size_t head = request.find("\r\n\r\n"), field = request.find("Content-Length: ");
        if (head == std::string::npos) continue;
        need = head + 4 + (field < head ? std::stoul(request.substr(field + 16)) : 0);
      }
      (void)!write(fd, response.data(), response.size());
      close(fd);
    }
  }

  std::vector<std::string> responses_;
  int listener_ = -1;
  std::string url_;
  std::thread thread_;
};

std::string Response(const std::string& head, const std::string& body) {
  return "HTTP/1.1 " + head + "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

std::string Stream(const std::string& events) {
  return Response("200 OK\r\nContent-Type: text/event-stream", events);
}

constexpr const char* kThoughtful =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"hm\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"yes\"},\"finish_reason\":\"stop\"}]}\n\n"
    "data: [DONE]\n\n";

TEST(RunElsewhere, ABusyServiceIsAskedAgain) {
  const ScriptedService service({Response("429 Too Many Requests\r\nRetry-After: 0", "{}"),
                                 Response("503 Service Unavailable\r\nRetry-After: 1", "{}"),
                                 Stream(kThoughtful)});
  const Outcome outcome = Hadal({"run", "--server", service.url(), "--server-model", "m", "--json", "x"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("busy (503); asking again in 1 s"));
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["text"], "yes");
  EXPECT_EQ(json["reasoning"], "hm");
}

TEST(RunElsewhere, ReasoningIsDimmedOnATerminalAndLeftOutElsewhere) {
  const ScriptedService service({Stream(kThoughtful), Stream(kThoughtful)});
  const std::vector<std::string> words{"run", "--server", service.url() + "/v1/", "--server-model", "m", "x"};
  EXPECT_EQ(Hadal(words).out, "yes\n");
  Terminal terminal(words, {"TERM=xterm"});
  EXPECT_TRUE(terminal.WaitFor("\x1b[2mhm\x1b[0m")) << terminal.shown();
  EXPECT_EQ(terminal.Wait(), 0);
  EXPECT_THAT(terminal.shown(), HasSubstr("yes"));
}

TEST(RunElsewhere, BrokenStreamsAreErrors) {
  const ScriptedService service({Stream("data: {\"choices\":[{\"delta\":{\"content\":\"ye\"}}]}\n\n"),
                                 Stream("data: {\"error\":{\"message\":\"the engine stopped\"}}\n\n"),
                                 Stream("data: nonsense\n\n"), Response("500 Oops", "<html>")});
  const std::vector<std::string> words{"run",    "--server", service.url(), "--server-model", "m",
                                       "--json", "x"};
  ExpectFailure(Hadal(words), "ended the stream before the answer");
  ExpectFailure(Hadal(words), "the engine stopped");
  ExpectFailure(Hadal(words), "no event of a chat completion");
  ExpectFailure(Hadal(words), "the service answers 500");
}

}  // namespace
}  // namespace hadal::e2e
