#include "cli/model_folder.h"

#include <cstdlib>
#include <system_error>
#include <vector>

#include "model/synth.h"

namespace hadal {
namespace {

Path Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? Path() : Path(value);
}

std::vector<Path> DefaultFolders() {
  std::vector<Path> folders;
  if (const Path home = Environment("HADAL_HOME"); !home.empty()) folders.push_back(home / "models/default");
  std::error_code error;
  if (const Path program = std::filesystem::read_symlink("/proc/self/exe", error); !error) {
    folders.push_back(program.parent_path() / "models/default");
    folders.push_back(program.parent_path().parent_path() / "models/default");
    folders.push_back(program.parent_path().parent_path() / "share/hadal/models/default");
  }
  if (const Path data = Environment("XDG_DATA_HOME"); !data.empty())
    folders.push_back(data / "hadal/models/default");
  else if (const Path home = Environment("HOME"); !home.empty())
    folders.push_back(home / ".local/share/hadal/models/default");
  return folders;
}

}  // namespace

Result<Path> FindModelFolder(const std::string& given) {
  std::error_code ignored;
  if (!given.empty()) {
    if (!std::filesystem::is_directory(given, ignored))
      return NotFound("there is no model folder {}; give one that holds config.json and the weights", given);
    return Path(given);
  }
  std::vector<std::string> places;
  for (const Path& folder : DefaultFolders()) {
    if (std::filesystem::exists(folder / "config.json", ignored)) return folder;
    places.push_back(folder.string());
  }
  return NotFound("no model is given (--model DIR or HADAL_MODEL) and there is no default one in {}",
                  fmt::join(places, ", "));
}

bool HasRandomWeights(const Path& folder) {
  std::error_code ignored;
  return std::filesystem::exists(folder / kRandomWeightsFile, ignored);
}

}  // namespace hadal
