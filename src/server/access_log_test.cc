#include "server/access_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "server/http_test_util.h"

namespace hadal {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

/// A log into a file, whose lines are read once it is closed.
class AccessLogTest : public testing::Test {
 protected:
  void SetUp() override {
    file_ = std::tmpfile();
    ASSERT_NE(file_, nullptr);
    Log::Options options;
    options.format = LogFormat::kJson;
    options.level = LogLevel::kDebug;
    options.fd = ::fileno(file_);
    log_ = std::make_unique<Log>(options);
  }
  void TearDown() override { std::fclose(file_); }

  std::vector<json> Lines() {
    log_ = nullptr;
    std::rewind(file_);
    std::string text;
    char buffer[4096];
    for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, file_)) > 0;) text.append(buffer, n);
    text_ = text;
    std::vector<json> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
    return lines;
  }
  std::FILE* file_ = nullptr;
  std::unique_ptr<Log> log_;
  std::string text_;
};

AccessRecord Answered(std::string_view route, int status) {
  AccessRecord record;
  record.method = "GET";
  record.route = route;
  record.status = status;
  record.completed = true;
  record.request_id = "abc";
  record.peer = "127.0.0.1";
  return record;
}

TEST_F(AccessLogTest, GenerationsHaveTokensReasonAndTimeToTheFirst) {
  Identity identity{"alice", "app", {"infer"}};
  RequestNotes notes;
  notes.prompt_tokens = 12;
  notes.cached_tokens = 8;
  notes.generated_tokens = 5;
  notes.finish_reason = "length";
  AccessRecord record = Answered("/v1/completions", 200);
  record.start = std::chrono::steady_clock::time_point(std::chrono::seconds(100));
  notes.first_token_ns = std::chrono::nanoseconds(std::chrono::milliseconds(100'250)).count();
  record.duration = std::chrono::milliseconds(400);
  record.identity = &identity;
  record.notes = &notes;
  LogAccess(*log_, record);
  LogAccess(*log_, Answered("/v1/models", 200));
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  const json& line = lines[0];
  EXPECT_EQ(line["event"], "request");
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["request_id"], "abc");
  EXPECT_EQ(line["client"], "app");
  EXPECT_EQ(line["route"], "/v1/completions");
  EXPECT_EQ(line["status"], 200);
  EXPECT_EQ(line["duration_ms"], 400);
  EXPECT_EQ(line["prompt_tokens"], 12);
  EXPECT_EQ(line["cached_tokens"], 8);
  EXPECT_EQ(line["generated_tokens"], 5);
  EXPECT_EQ(line["finish_reason"], "length");
  EXPECT_EQ(line["ttft_ms"], 250);
  EXPECT_FALSE(lines[1].contains("prompt_tokens"));
  EXPECT_FALSE(lines[1].contains("client"));
}

TEST_F(AccessLogTest, LevelsKeepProbesApartFromTrouble) {
  LogAccess(*log_, Answered("/livez", 200));
  LogAccess(*log_, Answered("/readyz", 503));
  AccessRecord left = Answered("/v1/completions", 499);
  left.completed = false;
  LogAccess(*log_, left);
  LogAccess(*log_, Answered("", 404));
  LogAccess(*log_, Answered("/readyz", 500));
  LogAccess(*log_, Answered("/v1/completions", 503));
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0]["level"], "debug");
  EXPECT_EQ(lines[1]["level"], "info");
  EXPECT_EQ(lines[2]["level"], "warn");
  EXPECT_EQ(lines[3]["level"], "info");
  EXPECT_EQ(lines[3]["route"], "none");
  EXPECT_EQ(lines[4]["level"], "error");
  EXPECT_EQ(lines[5]["level"], "error");
}

TEST_F(AccessLogTest, WhatAClientSendsIsNeitherForgedNorLeakedIntoTheLog) {
  ServerOptions options;
  options.plain = true;
  options.unauthenticated = true;
  options.observer = [&](const AccessRecord& record) { LogAccess(*log_, record); };
  const auto echo = [](const HttpRequest&, std::shared_ptr<ResponseWriter> writer) { writer->Send(200, {}, "x"); };
  auto server = HttpServer::Start(options, {{"POST", "/echo", "infer", echo}}, nullptr);
  ASSERT_TRUE(server) << server.error().message;
  const std::vector<std::string> requests = {
      "POST /echo?key=SECRET1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRET2\r\n"
      "Cookie: SECRET3\r\nX-Request-Id: good-id.1\r\nContent-Length: 7\r\n\r\nSECRET4",
      "POST /echo%0a%7b%22level%22%3a%22forged%22%7d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\" forged=\"1\r\nContent-Length: 0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: " + std::string(200, 'i') +
          "\r\nContent-Length: 0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\nforged: 1\r\n\r\n",
      "\"},{\"forged\":1 /SECRET5 HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET\x01\x1b[31m /SECRET6 HTTP/1.1\r\nHost: localhost\r\n\r\n"};
  std::vector<std::string> ids;
  for (const std::string& request : requests) {
    testing_http::Client client((*server)->port(), {.plain = true});
    client.Send(request);
    ids.push_back(client.ReadReply().Header("x-request-id"));
  }
  server->reset();
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), requests.size());
  std::vector<std::string> logged;  // by two threads, so in any order
  for (const json& line : lines) logged.push_back(line["request_id"]);
  EXPECT_THAT(logged, testing::UnorderedElementsAreArray(ids)) << "the client has the id of the line";
  EXPECT_EQ(ids[0], "good-id.1");
  EXPECT_EQ(ids[2].size(), 32u) << "a made id instead of one with quotes";
  EXPECT_EQ(ids[3].size(), 32u);
  EXPECT_THAT(text_, Not(HasSubstr("SECRET")));
  EXPECT_THAT(text_, Not(HasSubstr("forged")));
}

}  // namespace
}  // namespace hadal
