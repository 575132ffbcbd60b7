#include "server/api/random_hex.h"

#include <fmt/format.h>

#include <random>

namespace hadal::api {

std::string RandomHex() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}", device(), device(), device());
}

}  // namespace hadal::api
