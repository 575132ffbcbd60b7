// The safetensors format: what the head of a file says, checked in full before a byte of it is believed.
//
// A file is: u64 little-endian length of the header, the header (a JSON object, spaces may follow it), the
// data. The header's entries are `"name": {"dtype", "shape", "data_offsets": [begin, end]}`, offsets counted
// from the end of the header, and optionally `"__metadata__"`, a map of strings. The tensors cover the data
// exactly, without holes and without overlaps. Source: the format section of
// github.com/huggingface/safetensors.
//
// Nothing here knows files; bytes come in, so that it can be fuzzed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/tensor_info.h"

namespace hadal {

/// The reference implementation's limit.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
/// Ours, of one file and of one folder. DeepSeek-V3 has 91,991 tensors; Kimi-K2 in INT4 some 210,000.
inline constexpr size_t kMaxCheckpointTensors = 1'000'000;
inline constexpr size_t kMaxTensorRank = 16;

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // sorted by name; offsets are from the file's first byte, shard is 0
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // of the data, from the file's first byte
};

/// Where the data begins (8 + the header's length), from the file's first bytes: at least 8 of them, if it
/// has as many.
///
/// kDataLoss if the file cannot hold such a header; kResourceExhausted if the header is beyond the limit.
Result<uint64_t> SafetensorsDataBegin(std::span<const std::byte> prefix, uint64_t file_size);

/// Reads and checks the header of a file of `file_size` bytes, of which `prefix` is the beginning: the whole
/// file, or at least as much as SafetensorsDataBegin says (kInvalidArgument otherwise). No byte after the
/// header is touched.
///
/// kDataLoss names the tensor and what is wrong; kUnsupported: an unknown dtype, or more dimensions than
/// kMaxTensorRank; kResourceExhausted: beyond a limit above. Messages name no file: the caller knows it.
/// Memory: at most about ten times the header. Time: linear, but for a sort.
Result<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> prefix, uint64_t file_size);

/// A tensor's name and the file that holds it.
struct IndexEntry {
  std::string tensor;
  std::string file;
};

/// Reads and checks the text of a model.safetensors.index.json: its weight_map, sorted by tensor name.
///
/// File names are plain names of the same folder that end in ".safetensors"; anything that could lead out of
/// the folder is kDataLoss, another ending kUnsupported. `metadata` is not read: nothing follows from it.
Result<std::vector<IndexEntry>> ParseSafetensorsIndex(std::string_view text);

}  // namespace hadal
