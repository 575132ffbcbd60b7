// Keeps a running server's certificate fresh: renews it in time, and takes new files into use as they appear.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "server/state_folder.h"

namespace hadal {

struct KeeperOptions {
  std::function<Result<bool>()> renew = {};  // makes new files where it is time; empty: others replace them
  std::vector<Path> files = {};              // that `reload` reads
  std::function<Status()> reload = {};       // takes the files into use, or leaves the old certificate there
  std::chrono::milliseconds interval{10'000};
  std::function<void(const std::string&)> warn = {};  // told of each new failure, from the keeper's thread
};

/// A thread that looks every `interval`. Files that do not fit together yet (a new certificate whose key has
/// not come) are tried again until they do; connections are never touched.
class CertificateKeeper {
 public:
  /// The files as they are now are in use already.
  explicit CertificateKeeper(KeeperOptions options);
  ~CertificateKeeper();
  CertificateKeeper(const CertificateKeeper&) = delete;
  CertificateKeeper& operator=(const CertificateKeeper&) = delete;

  /// Looks now, and reads the files whether they changed or not.
  Status Reload();

 private:
  Status Look(bool in_any_case);
  void Run();

  const KeeperOptions options_;
  std::mutex work_;  // held while files are made and read
  std::vector<FileStamp> stamps_;
  bool failed_ = false;
  std::string last_failure_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace hadal
