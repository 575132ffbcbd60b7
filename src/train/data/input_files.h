// Files of text and JSONL, cut into units of work whose bounds depend on nothing but the files.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal::train {

/// What a document of a .txt file is.
enum class TextDocuments {
  kFile,        // the whole file
  kBlankLines,  // what stands between lines without anything in them but blanks
  kFormFeeds,   // what stands between form feeds (U+000C)
};

struct InputFile {
  Path path;
  uint64_t bytes = 0;
  bool is_json = false;  // a document a line
};

/// The files, and of folders those in them and below, by name, that end in .txt or .jsonl. kNotFound: one is
/// not there, or a folder has none. kInvalidArgument: a file of another kind.
Result<std::vector<InputFile>> ListInputs(const std::vector<Path>& inputs);

/// Documents of a file that begin in [begin, end).
struct InputPiece {
  size_t file = 0;
  uint64_t begin = 0, end = 0;
};
using InputUnit = std::vector<InputPiece>;

/// Cuts the files, in order, into units of about `unit_bytes`.
std::vector<InputUnit> CutInputs(const std::vector<InputFile>& files, TextDocuments documents,
                                 uint64_t unit_bytes);

/// A document and where it begins in its file.
struct SourceDocument {
  std::string_view text;
  uint64_t offset = 0;
};
/// The documents of a piece, or the lines, those of white space left out.
std::vector<SourceDocument> DocumentsOf(std::string_view file, const InputPiece& piece, bool is_json,
                                        TextDocuments documents);

}  // namespace hadal::train
