// What the program prints, and whether it could.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

namespace hadal {

/// Adds `text` to standard output; kResourceExhausted if it cannot be written. FlushOutput sends what is
/// buffered.
Status Print(std::string_view text);
Status FlushOutput();

/// "hadal: SENTENCE" on standard error.
void PrintError(std::string_view sentence);
/// A line on standard error that is for people: progress, plans, figures.
void PrintNote(std::string_view line);

/// "12 bytes", "3.4 MB", "685.40 GB": powers of 1000.
std::string BytesText(uint64_t bytes);

/// Whether a file could be made under that name: refusals come before the work, not after it. kNotFound: no
/// such folder; kFailedPrecondition: a folder has the name; kPermissionDenied.
Status CheckOutputFile(const Path& path);

}  // namespace hadal
