// From expressions to nodes and edges, before the network is checked and trimmed.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/grammar/program.h"

namespace hadal::grammar {

struct Network {
  struct Link {
    int32_t source;
    Edge edge;  // of kCall, `value` is a node
  };
  std::vector<Link> links;
  int32_t nodes = 0;
  std::vector<int32_t> entries;  // [rules] the first node of each
};

/// The network of all rules that have a body. kResourceExhausted beyond kMaxNodes and kMaxEdges.
Result<Network> BuildNetwork(const Grammar& grammar);

}  // namespace hadal::grammar
