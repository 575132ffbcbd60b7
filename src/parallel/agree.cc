#include "parallel/agree.h"

#include <cstring>
#include <string>
#include <vector>

namespace hadal {

Status Agree(Communicator& world, const Status& mine, const char* what) {
  constexpr size_t kLength = 1024;
  std::string text(kLength, '\0');
  if (!mine) {
    text[0] = static_cast<char>(static_cast<int>(mine.error().code) + 1);
    std::strncpy(text.data() + 1, mine.error().message.c_str(), kLength - 2);
  }
  std::string all(kLength * static_cast<size_t>(world.size()), '\0');
  RETURN_IF_ERROR(world.AllGather(std::as_bytes(std::span(text)), std::as_writable_bytes(std::span(all)), what));
  for (int r = 0; r < world.size(); ++r) {
    const char* of_rank = all.data() + kLength * static_cast<size_t>(r);
    if (of_rank[0] == 0) continue;
    const std::string message(of_rank + 1);
    return tl::unexpected(Error{static_cast<Code>(of_rank[0] - 1),
                                world.size() > 1 ? fmt::format("rank {}: {}", r, message) : message});
  }
  return {};
}

Result<int64_t> FromFirst(Communicator& world, int64_t value, const char* what) {
  std::vector<int64_t> all(static_cast<size_t>(world.size()));
  RETURN_IF_ERROR(world.AllGather(std::as_bytes(std::span(&value, 1)), std::as_writable_bytes(std::span(all)), what));
  return all[0];
}

}  // namespace hadal
