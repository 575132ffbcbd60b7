// What stands in a training checkpoint beside the numbers: where the run was, and which files belong to it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "parallel/process_mesh.h"

namespace hadal::train {

struct CheckpointFile {
  std::string name;
  uint64_t bytes = 0;
  uint64_t checksum = 0;  // base/checksum.h over the whole file
};

struct Manifest {
  int64_t step = 0;        // updates tried
  int64_t adam_steps = 0;  // updates made
  double loss_scale = 1;
  int64_t loss_scale_good_steps = 0;
  std::string dtype;       // "F32" or "F64", of all numbers
  std::string precision;   // of products: "bf16", "f16", "f32" or "f64"; what the loss scale belongs to
  MeshShape mesh;          // that wrote it
  std::string config;      // config.json of the model
  std::string data_cursor; // the loader's own text
  std::string lora;        // LoraOptions::Text: of a run that trains adapters, the files hold nothing but these
  std::vector<CheckpointFile> files;
};

inline constexpr const char* kManifestName = "manifest.json";

/// "step-00000100".
std::string StepFolderName(int64_t step);

std::string ManifestText(const Manifest& manifest);
/// kDataLoss: not such a file, with what is wrong.
Result<Manifest> ParseManifest(std::string_view text, std::string_view name);
/// kNotFound: no manifest.
Result<Manifest> LoadManifest(const Path& step_dir);

/// Steps of the complete checkpoints in `dir`, the newest first; what was not finished does not count, nor do folders of
/// other names.
/// kFailedPrecondition: the folder is there and cannot be listed.
Result<std::vector<int64_t>> FindCheckpointSteps(const Path& dir);
/// The same where a folder that cannot be listed has none.
std::vector<int64_t> ListCheckpointSteps(const Path& dir);
/// Their folders.
std::vector<Path> ListCheckpoints(const Path& dir);

}  // namespace hadal::train
