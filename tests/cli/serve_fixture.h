// A running hadal serve, and curl as its client.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "cli/program.h"

namespace hadal::e2e {

/// Starts a server over TLS on a free port of loopback with a model of random weights called "test", and ends
/// it afterwards; its exit code must be 0.
class ServeTest : public CliTest {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// The folder of the model to serve.
  virtual std::string ServedModel() { return Model(); }
  /// Flags beside the model, the state folder, the address and the threads.
  virtual std::vector<std::string> MoreFlags() const { return {"--max-running", "4"}; }

  /// Starts the process; its files may be there already.
  void Spawn();
  /// Spawn, and waits until requests are answered.
  void Start();
  /// SIGTERM; the exit code.
  int End();

  /// A token that `client` may use for `scope`, or with `more` = {"--api-key"} a key.
  std::string Token(const std::string& client, const std::string& scope,
                    const std::vector<std::string>& more = {});

  struct Reply {
    int status = 0;
    std::string body;
  };
  /// One request by curl, which trusts the internal CA alone. The token is read from a file, not a command
  /// line.
  Reply Curl(const std::string& path, const std::string& token, const std::string& body = "",
             const std::string& more = "");

  pid_t pid_ = -1;
  int log_fd_ = -1;  // where Start sends both outputs; -1: the file "log"
  std::string address_;
};

}  // namespace hadal::e2e
