// Replaces the program's operator new by one that counts; linked into the tests only.
#include "engine/allocation_counter.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HADAL_OWN_OPERATOR_NEW 0
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HADAL_OWN_OPERATOR_NEW 0
#endif
#ifndef HADAL_OWN_OPERATOR_NEW
#define HADAL_OWN_OPERATOR_NEW 1
#endif

namespace {
thread_local int64_t allocations = 0;
}  // namespace

#if HADAL_OWN_OPERATOR_NEW
void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size > 0 ? size : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size > 0 ? size : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
#endif

namespace hadal {

int64_t AllocationsOfThisThread() { return allocations; }

namespace {

TEST(AllocationCounter, Counts) {
  const int64_t before = AllocationsOfThisThread();
  const auto kept = std::make_unique<std::array<int, 100>>();
  EXPECT_EQ(AllocationsOfThisThread() - before, HADAL_OWN_OPERATOR_NEW) << kept.get();
}

}  // namespace
}  // namespace hadal
