// What a connection costs: memory of an idle TLS stream, time of a request. The limits are the promise of
// README.md with room for a busy machine; the figures are printed.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <vector>

#include "server/http_server.h"
#include "server/http_test_util.h"

namespace hadal {
namespace {

using namespace testing_http;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HADAL_SANITIZED 1
#endif
#endif
#ifdef HADAL_SANITIZED
constexpr bool kMeasure = false;
#else
constexpr bool kMeasure = true;
#endif

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// Opens `count` streams, says so on `out`, and waits for `in` to close. A process of its own, so that its
/// memory is not counted as the server's.
[[noreturn]] void HoldStreams(int port, int count, int out, int in) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<Client>(port));
    if (!clients.back()->Send(Get("/stream")) || !clients.back()->ReadUntil("hello")) _exit(1);
  }
  char byte = 1;
  if (::write(out, &byte, 1) != 1) _exit(1);
  if (::read(in, &byte, 1) < 0) _exit(1);
  _exit(0);
}

TEST(HttpCost, TwoThousandIdleTlsStreamsFitIn100Megabytes) {
  constexpr int kStreams = kMeasure ? 2000 : 50;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < kStreams + 100 && files.rlim_max >= kStreams + 100) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  if (files.rlim_cur < kStreams + 100) GTEST_SKIP() << "only " << files.rlim_cur << " descriptors";
  TestPki pki;
  ServerOptions options;
  options.tls = pki.Tls();
  std::mutex mutex;
  std::vector<std::shared_ptr<ResponseWriter>> writers;
  writers.reserve(kStreams);
  int to_child[2], from_child[2];
  ASSERT_EQ(::pipe(to_child), 0);
  ASSERT_EQ(::pipe(from_child), 0);
  int port_pipe[2];
  ASSERT_EQ(::pipe(port_pipe), 0);
  // Forked before there are threads; it learns the port later.
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(to_child[1]);
    int port = 0;
    if (::read(port_pipe[0], &port, sizeof port) != sizeof port) _exit(1);
    HoldStreams(port, kStreams, from_child[1], to_child[0]);
  }
  ::close(to_child[0]);
  ::close(from_child[1]);
  auto server = HttpServer::Start(options,
                                  {{"GET", "/stream", "",
                                    [&](const HttpRequest&, auto writer) {
                                      writer->StartStream(200, {{"content-type", "text/event-stream"}});
                                      writer->Write("data: hello\n\n");
                                      std::lock_guard lock(mutex);
                                      writers.push_back(std::move(writer));
                                    }}},
                                  nullptr);
  ASSERT_TRUE(server) << server.error().message;
  {
    Client warm((*server)->port());
    warm.Send(Get("/stream"));
    warm.ReadUntil("hello");
  }
  ASSERT_TRUE(Eventually([&] { return (*server)->stats().connections == 0; }));
  const int64_t before = ResidentBytes();
  const int port = (*server)->port();
  ASSERT_EQ(::write(port_pipe[1], &port, sizeof port), static_cast<ssize_t>(sizeof port));
  char byte = 0;
  ASSERT_EQ(::read(from_child[0], &byte, 1), 1) << "the clients failed";
  const int64_t bytes = ResidentBytes() - before;
  EXPECT_EQ((*server)->stats().connections, static_cast<size_t>(kStreams));
  std::printf("idle TLS stream: %.1f KiB, %d of them: %.1f MB\n",
              static_cast<double>(bytes) / kStreams / 1024, kStreams, static_cast<double>(bytes) / 1e6);
  if (kMeasure) EXPECT_LT(bytes, 100'000'000);
  ::close(to_child[1]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Eventually([&] { return (*server)->stats().connections == 0; }));
  for (int fd : {from_child[0], port_pipe[0], port_pipe[1]}) ::close(fd);
}

TEST(HttpCost, ARequestCostsLittle) {
  TestPki pki;
  ServerOptions options;
  options.tls = pki.Tls();
  auto server = HttpServer::Start(
      options, {{"POST", "/", "", [](const HttpRequest& r, auto writer) { writer->Send(200, {}, r.body); }}},
      nullptr);
  ASSERT_TRUE(server) << server.error().message;
  Client client((*server)->port());
  const std::string request = Post("/", std::string(200, 'x'));
  std::vector<double> micros;
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  constexpr int kRequests = 3000;
  for (int i = 0; i < kRequests; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(client.Ask(request).status, 200);
    micros.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  getrusage(RUSAGE_SELF, &after);
  std::sort(micros.begin(), micros.end());
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  const double cpu =
      seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) - seconds(before.ru_stime);
  std::printf("request over TLS, client included: median %.0f us, p99 %.0f us, CPU %.0f us\n",
              micros[kRequests / 2], micros[kRequests * 99 / 100], 1e6 * cpu / kRequests);
  if (kMeasure) EXPECT_LT(micros[kRequests / 2], 1000);
}

TEST(HttpCost, ATokenArrivesSoon) {
  TestPki pki;
  ServerOptions options;
  options.tls = pki.Tls();
  std::shared_ptr<ResponseWriter> writer;
  std::atomic<bool> ready{false};
  auto server = HttpServer::Start(options,
                                  {{"GET", "/", "",
                                    [&](const HttpRequest&, auto w) {
                                      w->StartStream(200, {});
                                      writer = std::move(w);
                                      ready = true;
                                    }}},
                                  nullptr);
  ASSERT_TRUE(server) << server.error().message;
  Client client((*server)->port());
  client.Send(Get("/"));
  ASSERT_TRUE(Eventually([&] { return ready.load(); }));
  ASSERT_TRUE(client.ReadUntil("\r\n\r\n"));
  std::vector<double> micros, calls;
  for (int i = 0; i < 2000; ++i) {
    const std::string event = "data: " + std::to_string(i) + "\n\n";
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(writer->Write(event));
    const auto called = std::chrono::steady_clock::now();
    ASSERT_TRUE(client.ReadUntil(event));
    const auto arrived = std::chrono::steady_clock::now();
    calls.push_back(std::chrono::duration<double, std::micro>(called - start).count());
    micros.push_back(std::chrono::duration<double, std::micro>(arrived - start).count());
  }
  std::sort(micros.begin(), micros.end());
  std::sort(calls.begin(), calls.end());
  std::printf("token: Write takes %.1f us of the caller, the client has it after %.0f us (medians)\n",
              calls[calls.size() / 2], micros[micros.size() / 2]);
  if (kMeasure) EXPECT_LT(micros[micros.size() / 2], 1000);
  writer = nullptr;
}

}  // namespace
}  // namespace hadal
