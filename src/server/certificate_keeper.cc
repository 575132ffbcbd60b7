#include "server/certificate_keeper.h"

#include <utility>

namespace hadal {
namespace {

std::vector<FileStamp> StampsOf(const std::vector<Path>& files) {
  std::vector<FileStamp> stamps;
  for (const Path& file : files) stamps.push_back(StampOf(file));
  return stamps;
}

}  // namespace

CertificateKeeper::CertificateKeeper(KeeperOptions options)
    : options_(std::move(options)), stamps_(StampsOf(options_.files)), thread_([this] { Run(); }) {}

CertificateKeeper::~CertificateKeeper() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

Status CertificateKeeper::Reload() { return Look(/*in_any_case=*/true); }

Status CertificateKeeper::Look(bool in_any_case) {
  const std::lock_guard lock(work_);
  Status renewed;
  if (options_.renew) {
    if (const Result<bool> made = options_.renew(); !made) renewed = tl::unexpected(made.error());
  }
  std::vector<FileStamp> stamps = StampsOf(options_.files);
  // A stamp of this moment may stay the same when the file changes once more.
  bool fresh = false;
  for (const FileStamp& stamp : stamps) fresh = fresh || IsFresh(stamp);
  const bool changed = stamps != stamps_ || failed_;
  if (!fresh || !changed) stamps_ = std::move(stamps);
  if (changed || in_any_case) {
    const Status reloaded = options_.reload();
    failed_ = !reloaded;
    if (!reloaded) return reloaded;
  }
  return renewed;
}

void CertificateKeeper::Run() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, options_.interval, [this] { return ending_; })) {
    lock.unlock();
    const Status looked = Look(/*in_any_case=*/false);
    const std::string failure = looked ? "" : looked.error().message;
    if (failure != last_failure_ && !failure.empty() && options_.warn)
      options_.warn(fmt::format("the certificate in use stays: {}", failure));
    last_failure_ = failure;
    lock.lock();
  }
}

}  // namespace hadal
