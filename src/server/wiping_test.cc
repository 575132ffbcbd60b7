// No memory that is given back holds what a client sent: operator delete looks before it frees. Sanitizers have their
// own operator delete; under them this file tests nothing.
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "server/http_server.h"
#include "server/http_test_util.h"
#include "server/task_queue.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HADAL_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HADAL_SANITIZED 1
#endif

#ifndef HADAL_SANITIZED

namespace {

constexpr char kMark[] = "correct-horse-battery-staple";
constexpr size_t kMarkBytes = sizeof(kMark) - 1;
std::atomic<bool> looking{false};
std::atomic<int> found{0};

void LookAndFree(void* block) noexcept {
  if (block && looking && memmem(block, malloc_usable_size(block), kMark, kMarkBytes)) ++found;
  std::free(block);
}

}  // namespace

void* operator new(size_t size) {
  if (void* block = std::malloc(size > 0 ? size : 1)) return block;
  throw std::bad_alloc();
}
void operator delete(void* block) noexcept { LookAndFree(block); }
void operator delete(void* block, size_t) noexcept { LookAndFree(block); }

namespace hadal {
namespace {

using namespace testing_http;

/// Sends from memory that nobody frees.
class Wiping : public ::testing::Test {
 protected:
  Wiping() {
    ServerOptions options;
    options.unauthenticated = true;
    options.tls = pki_.Tls();
    const auto later = [this](HttpRequest& request, std::shared_ptr<ResponseWriter> writer) {
      tasks_.Submit([writer, held = std::make_shared<HttpRequest>(std::move(request))] {
        writer->Send(held->body.find(kMark) != std::string::npos ? 200 : 400, {}, "");
      });
    };
    const auto now = [](const HttpRequest& request, const std::shared_ptr<ResponseWriter>& writer) {
      writer->Send(request.Header("authorization")->find(kMark) != std::string::npos ? 200 : 400, {}, "");
    };
    server_ = HttpServer::Start(options, {{"POST", "/later", "", later}, {"GET", "/now", "", now}}, nullptr).value();
    looking = true;
  }
  ~Wiping() override {
    server_ = nullptr;
    looking = false;
    EXPECT_EQ(found.exchange(0), 0);
  }

  /// In `pieces` pieces, each on its way before the next.
  void Send(Client& client, int pieces) {
    const std::string_view all(text_, strlen(text_));
    const size_t each = all.size() / static_cast<size_t>(pieces) + 1;
    for (size_t at = 0; at < all.size(); at += each) {
      client.Send(all.substr(at, each));
      std::this_thread::yield();
    }
  }

  TestPki pki_;
  TaskQueue tasks_{1, 8};
  std::unique_ptr<HttpServer> server_;
  char text_[8192];
};

TEST(WipingDetector, Finds) {
  looking = true;
  { const std::string text = std::string("a ") + kMark; }
  looking = false;
  EXPECT_GT(found.exchange(0), 0);
}

TEST_F(Wiping, CredentialsInHeaders) {
  snprintf(text_, sizeof text_, "GET /now HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", kMark);
  for (const int pieces : {1, 2, 40}) {
    Client client(server_->port());
    for (int i = 0; i < 2; ++i) {
      Send(client, pieces);
      EXPECT_EQ(client.ReadReply().status, 200);
    }
  }
}

TEST_F(Wiping, BodiesThatAreReadLater) {
  for (const int filler : {0, 300, 3000}) {
    for (const int pieces : {1, 7, 50}) {
      snprintf(text_, sizeof text_, "POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\npassword=%s%*s",
               filler + 9 + static_cast<int>(kMarkBytes), kMark, filler, "");
      Client client(server_->port());
      Send(client, pieces);
      EXPECT_EQ(client.ReadReply().status, 200);
      snprintf(text_, sizeof text_,
               "POST /later HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
               "%x\r\npassword=%s\r\n%x\r\n%*s\r\n0\r\n\r\n",
               9 + static_cast<int>(kMarkBytes), kMark, filler + 1, filler + 1, "");
      Send(client, pieces);
      EXPECT_EQ(client.ReadReply().status, 200);
    }
  }
}

TEST_F(Wiping, RequestsThatAreCutOffOrRefused) {
  snprintf(text_, sizeof text_, "POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\npassword=%s", kMark);
  {
    Client client(server_->port());
    Send(client, 3);
    client.HalfClose();
    EXPECT_EQ(client.ReadReply().status, 400);
  }
  snprintf(text_, sizeof text_, "GET /now HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nBad_Name: x\r\n\r\n", kMark);
  Client client(server_->port());
  Send(client, 3);
  EXPECT_EQ(client.ReadReply().status, 400);
}

TEST_F(Wiping, RequestsThatComeEarly) {
  int length = 0;
  for (int i = 0; i < 5; ++i)
    length += snprintf(text_ + length, sizeof text_ - static_cast<size_t>(length),
                       "POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\npassword=%s",
                       9 + static_cast<int>(kMarkBytes), kMark);
  for (const int pieces : {1, 9}) {
    Client client(server_->port());
    Send(client, pieces);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(client.ReadReply().status, 200);
  }
}

}  // namespace
}  // namespace hadal

#endif
