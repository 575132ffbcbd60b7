#include "model/safetensors.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "model/safetensors_json.h"

namespace hadal {
namespace {

using simdjson::dom::element;

constexpr uint64_t kLengthBytes = 8;

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t LoadLittleEndian64(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | std::to_integer<uint64_t>(bytes[i]);
  return value;
}

/// `value` as a number from 0 to 2^63 - 1. kDataLoss calls it `what`.
Result<int64_t> ReadCount(element value, std::string_view what) {
  int64_t number;
  if (value.get(number)) return DataLoss("{} is not a whole number below 2^63", what);
  if (number < 0) return DataLoss("{} is negative: {}", what, number);
  return number;
}

Result<std::map<std::string, std::string>> ReadMetadata(element value) {
  simdjson::dom::object object;
  if (value.get(object)) return DataLoss("__metadata__ is not an object of strings");
  std::map<std::string, std::string> metadata;
  for (auto field : object) {
    std::string_view text;
    if (field.value.get(text))
      return DataLoss("__metadata__: the value of '{}' is not a string", Shown(field.key));
    if (!metadata.emplace(field.key, text).second)
      return DataLoss("__metadata__ has the key '{}' twice", Shown(field.key));
  }
  return metadata;
}

Result<DType> ReadDType(element value) {
  std::string_view name;
  if (value.get(name)) return DataLoss("dtype is not a string");
  if (const auto type = DTypeFromName(name)) return *type;
  return Unsupported("dtype '{}' is not one that safetensors has (F32, BF16, F8_E4M3, …)", Shown(name));
}

Result<std::vector<int64_t>> ReadShape(element value) {
  simdjson::dom::array array;
  if (value.get(array)) return DataLoss("shape is not an array");
  std::vector<int64_t> shape;
  for (element item : array) {
    if (shape.size() == kMaxTensorRank)
      return Unsupported("shape has more than the {} dimensions that a tensor may have", kMaxTensorRank);
    ASSIGN_OR_RETURN(const int64_t size, ReadCount(item, "a dimension of shape"));
    shape.push_back(size);
  }
  return shape;
}

struct Range {
  uint64_t begin, end;
};

Result<Range> ReadRange(element value) {
  simdjson::dom::array array;
  if (value.get(array)) return DataLoss("data_offsets is not an array");
  int64_t numbers[2];
  size_t count = 0;
  for (element item : array) {
    if (count == 2) return DataLoss("data_offsets has more than 2 numbers");
    ASSIGN_OR_RETURN(numbers[count], ReadCount(item, "a number of data_offsets"));
    ++count;
  }
  if (count != 2) return DataLoss("data_offsets has {} numbers instead of 2", count);
  if (numbers[0] > numbers[1])
    return DataLoss("data_offsets [{}, {}] end before they begin", numbers[0], numbers[1]);
  return Range{static_cast<uint64_t>(numbers[0]), static_cast<uint64_t>(numbers[1])};
}

template <typename T>
Status SetOnce(std::optional<T>& field, Result<T> value, std::string_view key) {
  if (field) return DataLoss("the key '{}' stands twice", key);
  if (!value) return tl::unexpected(std::move(value).error());
  field = std::move(*value);
  return {};
}

/// One entry; the offset is from the data's first byte. Messages do not name the tensor.
Result<TensorInfo> ReadEntry(std::string_view name, element value) {
  simdjson::dom::object object;
  if (value.get(object)) return DataLoss("its entry is not an object");
  std::optional<DType> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<Range> range;
  for (auto field : object) {
    if (field.key == "dtype") {
      RETURN_IF_ERROR(SetOnce(dtype, ReadDType(field.value), field.key));
    } else if (field.key == "shape") {
      RETURN_IF_ERROR(SetOnce(shape, ReadShape(field.value), field.key));
    } else if (field.key == "data_offsets") {
      RETURN_IF_ERROR(SetOnce(range, ReadRange(field.value), field.key));
    } else {
      return DataLoss("unknown key '{}' beside dtype, shape and data_offsets", Shown(field.key));
    }
  }
  if (!dtype) return DataLoss("it has no dtype");
  if (!shape) return DataLoss("it has no shape");
  if (!range) return DataLoss("it has no data_offsets");
  ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(*dtype, *shape));
  if (range->end - range->begin != bytes)
    return DataLoss("shape {} of {} needs {} bytes, data_offsets [{}, {}] give it {}", ShapeText(*shape),
                    DTypeName(*dtype), bytes, range->begin, range->end, range->end - range->begin);
  return TensorInfo{std::string(name), *dtype, std::move(*shape), bytes, 0, range->begin};
}

/// Reads every entry of the header; offsets from the data's first byte, order as it stands there.
Result<SafetensorsHeader> ReadEntries(simdjson::dom::object root) {
  SafetensorsHeader header;
  bool has_metadata = false;
  for (auto field : root) {
    if (field.key == "__metadata__") {
      if (std::exchange(has_metadata, true)) return DataLoss("the header has the key '__metadata__' twice");
      ASSIGN_OR_RETURN(header.metadata, ReadMetadata(field.value));
      continue;
    }
    if (header.tensors.size() == kMaxCheckpointTensors)
      return ResourceExhausted("the header names more than the {} tensors that one file may hold",
                               kMaxCheckpointTensors);
    auto entry = ReadEntry(field.key, field.value);
    if (!entry)
      return MakeError(entry.error().code, "tensor '{}': {}", Shown(field.key), entry.error().message);
    header.tensors.push_back(std::move(*entry));
  }
  return header;
}

/// That the tensors, whose offsets count from the data's first byte, cover `data_size` bytes exactly.
Status CheckCoverage(const std::vector<TensorInfo>& tensors, uint64_t data_size) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(tensors[a].offset, tensors[a].bytes) < std::pair(tensors[b].offset, tensors[b].bytes);
  });
  uint64_t covered = 0;
  const TensorInfo* last = nullptr;
  for (uint32_t i : order) {
    const TensorInfo& tensor = tensors[i];
    if (tensor.offset < covered)
      return DataLoss(
          "tensors '{}' and '{}' overlap: the one ends at byte {} of the data, the other begins at {}",
          Shown(last->name), Shown(tensor.name), covered, tensor.offset);
    if (tensor.offset > covered)
      return DataLoss("bytes {} to {} of the data, before tensor '{}', belong to no tensor", covered,
                      tensor.offset, Shown(tensor.name));
    covered = tensor.offset + tensor.bytes;  // both come from numbers below 2^63
    last = &tensor;
  }
  if (covered > data_size)
    return DataLoss(
        "tensor '{}' ends at byte {} of the data, and the file ends at {}: it is cut off; copy or "
        "download it again",
        Shown(last->name), covered, data_size);
  if (covered < data_size)
    return DataLoss(
        "the last {} bytes of the file belong to no tensor: the tensors end at byte {} of {} of the data",
        data_size - covered, covered, data_size);
  return {};
}

}  // namespace

Result<uint64_t> SafetensorsDataBegin(std::span<const std::byte> prefix, uint64_t file_size) {
  if (file_size < kLengthBytes)
    return DataLoss("{} bytes are too few for a safetensors file, which begins with 8 bytes of header length",
                    file_size);
  if (prefix.size() < kLengthBytes)
    return InvalidArgument("{} bytes of the file were given to read its header, 8 are needed", prefix.size());
  if (AsText(prefix).starts_with("version https://git-lfs"))
    return DataLoss("this is a Git LFS pointer, not the weights; run `git lfs pull` in the model's folder");
  const uint64_t length = LoadLittleEndian64(prefix);
  if (length > file_size - kLengthBytes)
    return DataLoss(
        "the header should be {} bytes long, and the file has {} after the length: it is cut off, or is "
        "no safetensors file",
        length, file_size - kLengthBytes);
  if (length > kMaxSafetensorsHeaderBytes)
    return ResourceExhausted("the header is {} bytes long, the format allows {}", length,
                             kMaxSafetensorsHeaderBytes);
  return kLengthBytes + length;
}

Result<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> prefix, uint64_t file_size) {
  ASSIGN_OR_RETURN(const uint64_t data_begin, SafetensorsDataBegin(prefix, file_size));
  if (prefix.size() < data_begin)
    return InvalidArgument("{} bytes of the file were given to read its header, {} are needed", prefix.size(),
                           data_begin);
  const std::string_view text = AsText(prefix.subspan(kLengthBytes, data_begin - kLengthBytes));
  if (!text.starts_with('{'))
    return DataLoss("the header does not begin with '{{': this is no safetensors file");

  simdjson::dom::parser parser;
  ASSIGN_OR_RETURN(const element root, ParseBoundedJson(parser, text, "the header"));
  simdjson::dom::object object;
  if (root.get(object)) return DataLoss("the header is not a JSON object");
  ASSIGN_OR_RETURN(SafetensorsHeader header, ReadEntries(object));
  auto by_name = [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; };
  std::sort(header.tensors.begin(), header.tensors.end(), by_name);
  auto same_name = [](const TensorInfo& a, const TensorInfo& b) { return a.name == b.name; };
  const auto twin = std::adjacent_find(header.tensors.begin(), header.tensors.end(), same_name);
  if (twin != header.tensors.end()) return DataLoss("the header names tensor '{}' twice", Shown(twin->name));
  RETURN_IF_ERROR(CheckCoverage(header.tensors, file_size - data_begin));

  header.data_begin = data_begin;
  for (TensorInfo& tensor : header.tensors) tensor.offset += data_begin;
  return header;
}

}  // namespace hadal
