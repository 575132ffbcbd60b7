// Changes the weight format of a model folder: folder in, folder out.
#pragma once

#include <cstdint>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "model/tensor_stream.h"

namespace hadal {

struct ConvertOptions {
  Path in;
  Path out;                // new, or an empty folder; not `in` nor inside it
  std::string weights;     // bf16, fp8, int8 or int4
  Path adapter;            // folder of a LoRA adapter (lora.h) that is added to the weights; empty: none
  int64_t group = 32;      // of int8 and int4: values of a row that share a scale; 32, 64 or 128
  WriteProgress progress;  // may be null
};

/// Any stored format becomes any other. Integers are the compressed-tensors pack-quantized layout, FP8 is
/// DeepSeek's: the encodings of TensorEncoder; what becomes of which tensor is PlanConversion's to say.
/// config.json gets another quantization_config and keeps every other key; with the same format on both sides
/// it stays as it is and so does every tensor that no adapter changes, to the byte. The folder's other files are copied, weights in
/// other containers (.bin, .gguf) and subfolders are not.
///
/// The new folder appears under its name when everything is on the disk; after an error or a stop it does not
/// appear. Memory is about 120 MB, mapped parts of the source included, whatever the model's size.
///
/// kInvalidArgument: no such format or group, `out` is in `in`, rows that the group does not divide.
/// kFailedPrecondition: `out` is not empty. kResourceExhausted: the disk has too little room, found before a
/// weight is written. kDataLoss: a NaN or infinity among the Linears that are encoded anew (by name and row),
/// or the source changed meanwhile. kCancelled: the listener returned false. Else the errors of LoadConfig,
/// Checkpoint::Open, FindLinear and LoraAdapter.
Status Convert(const ConvertOptions& options, ThreadPool& pool);

}  // namespace hadal
