// libFuzzer harness of the safetensors parsers: whatever the bytes, no crash, and what is accepted keeps the
// promises that the loader relies on. Not part of the build:
//   clang++-19 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/safetensors_fuzz.cc
//     src/model/safetensors.cc src/model/safetensors_index.cc src/model/tensor_info.cc src/tensor/dtype.cc
//     src/base/status.cc src/base/check.cc -lsimdjson -lfmt -o safetensors_fuzz
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/check.h"
#include "model/safetensors.h"

using namespace hadal;

namespace {

void CheckHeader(std::span<const std::byte> bytes) {
  const auto header = ParseSafetensorsHeader(bytes, bytes.size());
  if (!header) {
    HADAL_CHECK(!header.error().message.empty());
    return;
  }
  HADAL_CHECK(header->data_begin >= 10 && header->data_begin <= bytes.size());
  uint64_t covered = 0;
  const TensorInfo* last = nullptr;
  for (const TensorInfo& tensor : header->tensors) {
    HADAL_CHECK(!last || last->name < tensor.name, "names are not sorted and distinct");
    HADAL_CHECK(tensor.offset >= header->data_begin && tensor.offset <= bytes.size());
    HADAL_CHECK(tensor.bytes <= bytes.size() - tensor.offset);
    const auto bytes_of_shape = TensorBytes(tensor.dtype, tensor.shape);
    HADAL_CHECK(bytes_of_shape && *bytes_of_shape == tensor.bytes);
    covered += tensor.bytes;
    last = &tensor;
  }
  HADAL_CHECK_EQ(covered, bytes.size() - header->data_begin);
}

void CheckIndex(std::string_view text) {
  const auto index = ParseSafetensorsIndex(text);
  if (!index) return;
  for (const IndexEntry& entry : *index)
    HADAL_CHECK(!entry.file.empty() && entry.file.find('/') == entry.file.npos && entry.file[0] != '.');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  CheckHeader(std::as_bytes(std::span(data, size)));
  CheckIndex({reinterpret_cast<const char*>(data), size});
  return 0;
}
