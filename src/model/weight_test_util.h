// For the tests of weights: what a checkpoint says a weight's element is, by the plainest reading of its
// bytes; and folders made of tensors written by hand.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/safetensors_writer.h"
#include "tensor/dtype.h"

namespace hadal {

/// Element `index` of a tensor, as a number.
inline double StoredElement(const Checkpoint& checkpoint, const std::string& name, int64_t index) {
  const TensorInfo* tensor = checkpoint.Find(name);
  if (!tensor) {
    ADD_FAILURE() << "no tensor " << name;
    return 0;
  }
  const auto width = static_cast<uint64_t>(DTypeBits(tensor->dtype) / 8);
  std::vector<std::byte> scratch;
  const auto bytes = checkpoint.Read(*tensor, static_cast<uint64_t>(index) * width, width, scratch);
  EXPECT_TRUE(bytes.has_value()) << name << " element " << index;
  if (!bytes) return 0;
  uint32_t raw = 0;
  std::memcpy(&raw, bytes->data(), std::min<size_t>(width, sizeof raw));
  switch (tensor->dtype) {
    case DType::kF32:
      return std::bit_cast<float>(raw);
    case DType::kBF16:
      return ToFloat(bf16{static_cast<uint16_t>(raw)});
    case DType::kF16:
      return ToFloat(f16{static_cast<uint16_t>(raw)});
    case DType::kF8E4M3:
      return ToFloat(e4m3{static_cast<uint8_t>(raw)});
    case DType::kF8E8M0:
      return E8M0ToFloat(static_cast<uint8_t>(raw));
    default:
      return static_cast<int32_t>(raw);
  }
}

/// Element (row, col) of Linear `base`, [any, in].
inline double StoredWeight(const Checkpoint& checkpoint, const QuantizationConfig& quantization,
                           const std::string& base, int64_t in, int64_t row, int64_t col) {
  if (checkpoint.Find(base + ".weight_packed")) {
    const int64_t per_word = 32 / quantization.bits, words = (in + per_word - 1) / per_word;
    const auto word = static_cast<uint32_t>(static_cast<int32_t>(
        StoredElement(checkpoint, base + ".weight_packed", row * words + col / per_word)));
    const uint32_t code = word >> (col % per_word * quantization.bits) & ((1u << quantization.bits) - 1);
    const int64_t groups = (in + quantization.group_size - 1) / quantization.group_size;
    const double scale =
        StoredElement(checkpoint, base + ".weight_scale", row * groups + col / quantization.group_size);
    return (static_cast<int>(code) - (1 << (quantization.bits - 1))) * scale;
  }
  const double code = StoredElement(checkpoint, base + ".weight", row * in + col);
  if (!checkpoint.Find(base + ".weight_scale_inv")) return code;
  const int64_t blocks = (in + quantization.block_cols - 1) / quantization.block_cols;
  return code * StoredElement(checkpoint, base + ".weight_scale_inv",
                              row / quantization.block_rows * blocks + col / quantization.block_cols);
}

struct HandTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

template <typename T>
HandTensor MakeTensor(std::string name, DType dtype, std::vector<int64_t> shape,
                      const std::vector<T>& values) {
  HandTensor tensor{std::move(name), dtype, std::move(shape),
                    std::vector<std::byte>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

/// Every tensor of a checkpoint.
inline std::vector<HandTensor> CopyTensors(const Checkpoint& checkpoint) {
  std::vector<HandTensor> copies;
  std::vector<std::byte> scratch;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const auto bytes = checkpoint.Read(tensor, 0, tensor.bytes, scratch);
    copies.push_back({tensor.name, tensor.dtype, tensor.shape, {bytes->begin(), bytes->end()}});
  }
  return copies;
}

/// Writes `tensors` to `file` and opens it.
inline std::unique_ptr<Checkpoint> WriteAndOpen(const Path& file, const std::vector<HandTensor>& tensors) {
  std::vector<TensorDeclaration> declarations;
  for (const HandTensor& tensor : tensors) declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
  auto writer = SafetensorsWriter::Create(file, declarations);
  EXPECT_TRUE(writer.has_value()) << writer.error().message;
  for (const TensorDeclaration& declaration : declarations) {
    const auto tensor = std::find_if(tensors.begin(), tensors.end(),
                                     [&](const HandTensor& t) { return t.name == declaration.name; });
    const Status status = writer->Write(tensor->name, tensor->bytes);
    EXPECT_TRUE(status.has_value()) << status.error().message;
  }
  const Status finished = writer->Finish();
  EXPECT_TRUE(finished.has_value()) << finished.error().message;
  auto checkpoint = Checkpoint::OpenFile(file);
  EXPECT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  return std::move(checkpoint).value();
}

inline HandTensor& Named(std::vector<HandTensor>& tensors, const std::string& name) {
  for (HandTensor& tensor : tensors)
    if (tensor.name == name) return tensor;
  ADD_FAILURE() << "no tensor " << name;
  return tensors.front();
}

inline void Remove(std::vector<HandTensor>& tensors, const std::string& name) {
  std::erase_if(tensors, [&](const HandTensor& tensor) { return tensor.name == name; });
}

}  // namespace hadal
