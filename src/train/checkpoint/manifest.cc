#include "train/checkpoint/manifest.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kFormat = 2;
constexpr size_t kMaxManifestBytes = size_t{64} << 20;
constexpr int64_t kMaxRanksOfAnAxis = 1 << 20;
constexpr std::string_view kStepPrefix = "step-";

/// All of `text` as a number; false: it is none, or too large.
template <typename T>
bool ParseNumber(std::string_view text, T& value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

/// An integer of `json` in [least, most].
Result<int64_t> Integer(const Json& json, const char* key, int64_t least = 0,
                        int64_t most = std::numeric_limits<int64_t>::max()) {
  const Json& value = json.at(key);
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(most)
                                               : value.is_number_integer() && value.get<int64_t>() <= most;
  if (!fits || value.get<int64_t>() < least)
    return DataLoss("'{}' is {}, expected a whole number from {} to {}", key, value.dump().substr(0, 40), least, most);
  return value.get<int64_t>();
}

Result<MeshShape> ParseMesh(const Json& json) {
  MeshShape mesh;
  const std::pair<const char*, int*> axes[] = {{"tensor", &mesh.tensor}, {"pipeline", &mesh.pipeline},
                                               {"data", &mesh.data}, {"expert", &mesh.expert}};
  for (const auto& [key, ranks] : axes) {
    ASSIGN_OR_RETURN(const int64_t number, Integer(json, key, 1, kMaxRanksOfAnAxis));
    *ranks = static_cast<int>(number);
  }
  return mesh;
}

Result<CheckpointFile> ParseFile(const Json& json) {
  CheckpointFile file;
  file.name = json.at("name");
  if (file.name.empty() || file.name.find('/') != std::string::npos)
    return DataLoss("a file is named '{}', expected a plain name", file.name.substr(0, 100));
  ASSIGN_OR_RETURN(const int64_t bytes, Integer(json, "bytes"));
  file.bytes = static_cast<uint64_t>(bytes);
  const std::string checksum = json.at("checksum");
  if (!ParseNumber(checksum, file.checksum, 16))
    return DataLoss("{}: '{}' is no checksum", file.name, checksum.substr(0, 40));
  return file;
}

Result<Manifest> ParseFields(const Json& json) {
  Manifest m;
  ASSIGN_OR_RETURN(m.step, Integer(json, "step"));
  ASSIGN_OR_RETURN(m.adam_steps, Integer(json, "adam_steps"));
  m.loss_scale = json.at("loss_scale");
  if (!(m.loss_scale > 0) || !std::isfinite(m.loss_scale)) return DataLoss("the loss scale is {}", m.loss_scale);
  ASSIGN_OR_RETURN(m.loss_scale_good_steps, Integer(json, "loss_scale_good_steps"));
  m.dtype = json.at("dtype");
  m.precision = json.at("precision");
  ASSIGN_OR_RETURN(m.mesh, ParseMesh(json.at("mesh")));
  m.data_cursor = json.at("data_cursor");
  m.lora = json.at("lora");
  m.config = json.at("config");
  for (const Json& each : json.at("files")) {
    ASSIGN_OR_RETURN(CheckpointFile file, ParseFile(each));
    m.files.push_back(std::move(file));
  }
  return m;
}

}  // namespace

std::string StepFolderName(int64_t step) { return fmt::format("step-{:08d}", step); }

std::string ManifestText(const Manifest& m) {
  Json files = Json::array();
  for (const CheckpointFile& file : m.files)
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"checksum", fmt::format("{:016x}", file.checksum)}});
  const Json json = {{"format", kFormat},
                     {"step", m.step},
                     {"adam_steps", m.adam_steps},
                     {"loss_scale", m.loss_scale},
                     {"loss_scale_good_steps", m.loss_scale_good_steps},
                     {"dtype", m.dtype},
                     {"precision", m.precision},
                     {"mesh", {{"tensor", m.mesh.tensor}, {"pipeline", m.mesh.pipeline}, {"data", m.mesh.data},
                               {"expert", m.mesh.expert}}},
                     {"data_cursor", m.data_cursor},
                     {"lora", m.lora},
                     {"config", m.config},
                     {"files", files}};
  return json.dump(1) + "\n";
}

Result<Manifest> ParseManifest(std::string_view text, std::string_view name) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return DataLoss("{} is no JSON object", name);
  try {
    if (json.at("format") != kFormat)
      return Unsupported("{} is of format {}, expected {}; another version of hadal wrote it", name,
                         json.at("format").dump(), kFormat);
    Result<Manifest> manifest = ParseFields(json);
    if (!manifest) return DataLoss("{} is no manifest of a checkpoint: {}", name, manifest.error().message);
    return manifest;
  } catch (const std::exception& error) {
    return DataLoss("{} is no manifest of a checkpoint: {}", name, error.what());
  }
}

Result<Manifest> LoadManifest(const Path& step_dir) {
  const Path path = step_dir / kManifestName;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxManifestBytes));
  return ParseManifest(text, path.string());
}

Result<std::vector<int64_t>> FindCheckpointSteps(const Path& dir) {
  std::vector<int64_t> steps;
  std::error_code error;
  std::filesystem::directory_iterator at(dir, error);
  if (error == std::errc::no_such_file_or_directory) return steps;
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    int64_t step = 0;
    if (!name.starts_with(kStepPrefix) || !ParseNumber(std::string_view(name).substr(kStepPrefix.size()), step)) continue;
    if (name != StepFolderName(step)) continue;
    // One that cannot be looked into (permissions) may be one, and the
    // newest: passed over in silence, an older one would take its place.
    std::error_code unknown;
    if (std::filesystem::exists(at->path() / kManifestName, unknown) || unknown) steps.push_back(step);
  }
  if (error) return FailedPrecondition("cannot list {}: {}", dir.string(), error.message());
  std::ranges::sort(steps, std::greater());
  return steps;
}

std::vector<int64_t> ListCheckpointSteps(const Path& dir) {
  return FindCheckpointSteps(dir).value_or(std::vector<int64_t>());
}

std::vector<Path> ListCheckpoints(const Path& dir) {
  std::vector<Path> folders;
  for (const int64_t step : ListCheckpointSteps(dir)) folders.push_back(dir / StepFolderName(step));
  return folders;
}

}  // namespace hadal::train
