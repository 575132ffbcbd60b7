#include "train/checkpoint/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kFormat = 1;
constexpr size_t kMaxManifestBytes = size_t{64} << 20;

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
    Manifest m;
    m.step = json.at("step");
    m.adam_steps = json.at("adam_steps");
    m.loss_scale = json.at("loss_scale");
    m.loss_scale_good_steps = json.at("loss_scale_good_steps");
    m.dtype = json.at("dtype");
    const Json& mesh = json.at("mesh");
    m.mesh = {mesh.at("tensor"), mesh.at("pipeline"), mesh.at("data"), mesh.at("expert")};
    m.data_cursor = json.at("data_cursor");
    m.lora = json.value("lora", "");
    m.config = json.at("config");
    for (const Json& file : json.at("files")) {
      const std::string file_name = file.at("name");
      if (file_name.empty() || file_name.find('/') != std::string::npos)
        return DataLoss("{} names a file '{}', expected a plain name", name, file_name);
      m.files.push_back({file_name, file.at("bytes"),
                         std::stoull(file.at("checksum").get<std::string>(), nullptr, 16)});
    }
    if (m.step < 0 || m.adam_steps < 0 || !(m.loss_scale > 0)) return DataLoss("{}: a negative count or scale", name);
    return m;
  } catch (const std::exception& error) {
    return DataLoss("{} is no manifest of a checkpoint: {}", name, error.what());
  }
}

Result<Manifest> LoadManifest(const Path& step_dir) {
  const Path path = step_dir / kManifestName;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxManifestBytes));
  return ParseManifest(text, path.string());
}

std::vector<Path> ListCheckpoints(const Path& dir) {
  std::vector<Path> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    const bool named = name.size() > 5 && name.starts_with("step-") &&
                       std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (named && std::filesystem::exists(entry.path() / kManifestName, error)) found.push_back(entry.path());
  }
  std::ranges::sort(found, [](const Path& a, const Path& b) {
    return std::stoll(a.filename().string().substr(5)) > std::stoll(b.filename().string().substr(5));
  });
  return found;
}

}  // namespace hadal::train
