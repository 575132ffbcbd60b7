#include "cli/folder_report.h"

#include <algorithm>

#include "cli/json_lines.h"
#include "cli/output.h"

namespace hadal {

Status FolderReport::Print(bool json) const {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (json) return hadal::Print(JsonText({{"out", folder}, {"bytes", bytes}, {"seconds", seconds}}) + "\n");
  const auto rate = static_cast<uint64_t>(static_cast<double>(bytes) / std::max(seconds, 1e-6));
  return hadal::Print(fmt::format("{}: {} of weights in {:.1f} s ({}/s)\n", folder, BytesText(bytes), seconds,
                                  BytesText(rate)));
}

}  // namespace hadal
