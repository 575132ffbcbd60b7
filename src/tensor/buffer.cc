#include "tensor/buffer.h"

#include <sys/mman.h>

#include "base/cpu_info.h"

namespace hadal {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;

uint64_t Mapped(uint64_t bytes) {
  const uint64_t unit = bytes >= kHugePage ? kHugePage : 4096;
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Result<ByteBuffer> ByteBuffer::Allocate(uint64_t bytes, const char* what) {
  ByteBuffer buffer;
  if (bytes == 0) return buffer;
  const auto refuse = [&] {
    return ResourceExhausted("cannot allocate {} bytes for {}; {} bytes are available", bytes, what,
                             AvailableMemoryBytes());
  };
  if (bytes > (uint64_t{1} << 46)) return refuse();
  // mmap aligns to 4 KiB; huge pages need 2 MiB, so map one more and cut both ends.
  const uint64_t size = Mapped(bytes);
  const uint64_t slack = size >= kHugePage ? kHugePage : 0;
  void* raw = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return refuse();
  const uintptr_t begin = reinterpret_cast<uintptr_t>(raw);
  uintptr_t start = begin;
  if (slack > 0) {
    start = (begin + kHugePage - 1) / kHugePage * kHugePage;
    if (start > begin) munmap(raw, start - begin);
    if (begin + slack > start) munmap(reinterpret_cast<void*>(start + size), begin + slack - start);
    madvise(reinterpret_cast<void*>(start), size, MADV_HUGEPAGE);
  }
  buffer.data_ = reinterpret_cast<std::byte*>(start);
  buffer.size_ = bytes;
  return buffer;
}

ByteBuffer::~ByteBuffer() {
  if (data_) munmap(data_, Mapped(size_));
}

}  // namespace hadal
