#include "train/data/input_files.h"

#include <algorithm>

namespace hadal::train {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n\f\v";

bool IsBlank(std::string_view text) { return text.find_first_not_of(kWhiteSpace) == text.npos; }

/// The end of the line that `at` is in, its newline included.
uint64_t LineEnd(std::string_view file, uint64_t at) {
  const size_t end = file.find('\n', at);
  return end == file.npos ? file.size() : end + 1;
}

/// The first document that begins at or after `at`, where documents follow a byte `separator`.
uint64_t AfterSeparator(std::string_view file, uint64_t at, char separator) {
  if (at == 0 || at >= file.size()) return std::min<uint64_t>(at, file.size());
  const size_t found = file.find(separator, at - 1);
  return found == file.npos ? file.size() : found + 1;
}

/// The same where they follow a blank line.
uint64_t AfterBlankLine(std::string_view file, uint64_t at) {
  uint64_t line = AfterSeparator(file, at, '\n');
  bool after_blank = line == 0;
  if (line > 0 && line < file.size()) {
    const size_t before = line >= 2 ? file.rfind('\n', line - 2) : file.npos;
    after_blank = IsBlank(
        file.substr(before == file.npos ? 0 : before + 1, line - (before == file.npos ? 0 : before + 1)));
  }
  while (line < file.size()) {
    const uint64_t end = LineEnd(file, line);
    const bool blank = IsBlank(file.substr(line, end - line));
    if (after_blank && !blank) return line;
    after_blank = blank;
    line = end;
  }
  return file.size();
}

uint64_t NextStart(std::string_view file, uint64_t at, bool is_json, TextDocuments documents) {
  if (is_json) return AfterSeparator(file, at, '\n');
  if (documents == TextDocuments::kFile) return at == 0 ? 0 : file.size();
  if (documents == TextDocuments::kFormFeeds) return AfterSeparator(file, at, '\f');
  return AfterBlankLine(file, at);
}

Result<InputFile> Describe(const Path& path) {
  std::error_code error;
  const std::string extension = path.extension().string();
  if (extension != ".txt" && extension != ".jsonl")
    return InvalidArgument("{} ends in neither .txt nor .jsonl", path.string());
  if (!std::filesystem::is_regular_file(path, error))
    return InvalidArgument("{} is no regular file", path.string());
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) return Unavailable("cannot ask for the size of {}: {}", path.string(), error.message());
  return InputFile{path, bytes, extension == ".jsonl"};
}

Result<std::vector<Path>> FilesBelow(const Path& folder) {
  std::vector<Path> files;
  std::error_code error;
  using Walk = std::filesystem::recursive_directory_iterator;
  for (Walk at(folder, error); !error && at != Walk(); at.increment(error)) {
    const std::string extension = at->path().extension().string();
    if (extension == ".txt" || extension == ".jsonl") files.push_back(at->path());
  }
  if (error) return Unavailable("cannot list {}: {}", folder.string(), error.message());
  if (files.empty()) return NotFound("{} has no file that ends in .txt or .jsonl", folder.string());
  std::ranges::sort(files);
  return files;
}

}  // namespace

Result<std::vector<InputFile>> ListInputs(const std::vector<Path>& inputs) {
  std::vector<InputFile> files;
  std::error_code ignored;
  for (const Path& input : inputs) {
    if (!std::filesystem::exists(input, ignored)) return NotFound("there is no {}", input.string());
    std::vector<Path> paths{input};
    if (std::filesystem::is_directory(input, ignored)) {
      ASSIGN_OR_RETURN(paths, FilesBelow(input));
    }
    for (const Path& path : paths) {
      ASSIGN_OR_RETURN(InputFile file, Describe(path));
      files.push_back(std::move(file));
    }
  }
  return files;
}

std::vector<InputUnit> CutInputs(const std::vector<InputFile>& files, TextDocuments documents,
                                 uint64_t unit_bytes) {
  std::vector<InputUnit> units;
  uint64_t room = 0;
  for (size_t f = 0; f < files.size(); ++f) {
    const bool whole = !files[f].is_json && documents == TextDocuments::kFile;
    for (uint64_t at = 0; at < files[f].bytes;) {
      if (room == 0) {
        units.emplace_back();
        room = unit_bytes;
      }
      const uint64_t left = files[f].bytes - at;
      const uint64_t take = whole ? left : std::min(room, left);
      units.back().push_back({f, at, at + take});
      at += take;
      room -= std::min(room, take);
    }
  }
  return units;
}

std::vector<SourceDocument> DocumentsOf(std::string_view file, const InputPiece& piece, bool is_json,
                                        TextDocuments documents) {
  std::vector<SourceDocument> out;
  uint64_t at = NextStart(file, piece.begin, is_json, documents);
  while (at < piece.end) {
    const uint64_t next = NextStart(file, at + 1, is_json, documents);
    std::string_view text = file.substr(at, next - at);
    const size_t keep = text.find_last_not_of(kWhiteSpace);
    if (keep != text.npos) {
      const size_t skip =
          is_json || documents != TextDocuments::kFormFeeds ? 0 : text.find_first_not_of("\r\n");
      out.push_back({text.substr(skip, keep + 1 - skip), at + skip});
    }
    at = next;
  }
  return out;
}

}  // namespace hadal::train
