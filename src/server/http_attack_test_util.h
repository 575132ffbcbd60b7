// For tests of attacks: a server with routes that answer, hold and keep.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/http_server.h"
#include "server/http_test_util.h"
#include "server/memory_bound_test_util.h"

namespace hadal::testing_http {

inline const HttpHeaders kText = {{"content-type", "text/plain"}};
constexpr const char* kHost = "Host: localhost\r\n";

class HttpAttack : public ::testing::Test {
 protected:
  HttpAttack() {
    options_.plain = true;
    options_.unauthenticated = true;
    // Long enough for a busy machine; the tests of a limit shorten it.
    options_.handshake_timeout = options_.header_timeout = options_.body_timeout = 10s;
    options_.idle_timeout = options_.write_timeout = 10s;
    options_.linger_timeout = 300ms;
  }
  std::vector<Route> Routes() {
    return {
        {"GET", "/good", "", [](const HttpRequest&, auto writer) { writer->Send(200, kText, "ok"); }},
        {"POST", "/post", "",
         [this](const HttpRequest& request, auto writer) {
           ++handled_;
           writer->Send(200, kText, std::to_string(request.body.size()));
         }},
        {"POST", "/small", "", [](const HttpRequest&, auto writer) { writer->Send(200, kText, "s"); }, 4},
        {"POST", "/keep", "",
         [this](HttpRequest& request, auto writer) {
           std::lock_guard lock(mutex_);
           kept_.push_back(std::move(request));
           writer->Send(200, kText, "kept");
         }},
        {"POST", "/hold", "", [this](const HttpRequest&, auto writer) { Hold(std::move(writer)); }},
        {"GET", "/hold", "", [this](const HttpRequest&, auto writer) { Hold(std::move(writer)); }},
    };
  }
  void Hold(std::shared_ptr<ResponseWriter> writer) {
    std::lock_guard lock(mutex_);
    held_.push_back(std::move(writer));
  }
  std::shared_ptr<ResponseWriter> TakeHeld() {
    std::shared_ptr<ResponseWriter> writer;
    Eventually([&] {
      std::lock_guard lock(mutex_);
      if (held_.empty()) return false;
      writer = std::move(held_.front());
      held_.pop_front();
      return true;
    });
    return writer;
  }
  void Start() {
    if (!options_.plain && options_.tls.certificate_file.empty()) options_.tls = pki_.Tls();
    auto server = HttpServer::Start(options_, Routes(), nullptr);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  ClientOptions Usual() const { return {.plain = options_.plain}; }
  int port() const { return server_->port(); }
  Reply Attack(std::string_view bytes) {
    Client client(port(), Usual());
    client.Send(bytes);
    Reply reply = client.ReadReply();
    EXPECT_TRUE(reply.status == 0 || reply.complete);
    return reply;
  }
  ::testing::AssertionResult StillGood() {
    Client client(port(), Usual());
    const Reply reply = client.Ask(Get("/good"));
    if (reply.status == 200 && reply.body == "ok") return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "a good request got " << reply.status;
  }

  MemoryBound memory_{48 << 20};  // client and server together
  TestPki pki_;
  ServerOptions options_;
  std::atomic<int> handled_{0};
  std::mutex mutex_;
  std::deque<std::shared_ptr<ResponseWriter>> held_;
  std::vector<HttpRequest> kept_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace hadal::testing_http
