#include "model/folder_files.h"

#include <string>
#include <string_view>
#include <vector>

namespace hadal {
namespace {

/// Weights in any container, and what describes them.
bool IsWeightFile(const std::string& name) {
  for (std::string_view suffix :
       {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf"})
    if (name.ends_with(suffix)) return true;
  return false;
}

}  // namespace

Status CopyCompanionFiles(const Path& in, const Path& out) {
  std::error_code error;
  std::vector<Path> files;
  for (std::filesystem::directory_iterator entry(in, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code unreadable;
    if (name != "config.json" && !IsWeightFile(name) && entry->is_regular_file(unreadable))
      files.push_back(entry->path());
  }
  if (error) return PermissionDenied("cannot list {}: {}", in.string(), error.message());
  for (const Path& file : files) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file));
    RETURN_IF_ERROR(WriteFileAtomic(out / file.filename(), bytes));
  }
  return {};
}

}  // namespace hadal
