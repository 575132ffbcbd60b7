#include "engine/grammar/program.h"

#include <algorithm>

#include "engine/grammar/network.h"

namespace hadal::grammar {
namespace {

using Link = Network::Link;

/// Which links come to each node: those that lead there, and the calls that begin there.
class Arrivals {
 public:
  explicit Arrivals(const Network& net) : offsets_(static_cast<size_t>(net.nodes) + 1) {
    ForAll(net, [&](int32_t node, int32_t) { ++offsets_[static_cast<size_t>(node) + 1]; });
    for (size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];
    links_.resize(static_cast<size_t>(offsets_.back()));
    std::vector<int32_t> next(offsets_.begin(), offsets_.end() - 1);
    ForAll(net, [&](int32_t node, int32_t link) { links_[next[node]++] = link; });
  }
  std::span<const int32_t> At(int32_t node) const {
    return {links_.data() + offsets_[node], links_.data() + offsets_[static_cast<size_t>(node) + 1]};
  }

 private:
  template <typename Visit>
  static void ForAll(const Network& net, Visit visit) {
    for (int32_t i = 0; i < static_cast<int32_t>(net.links.size()); ++i) {
      const Edge& edge = net.links[i].edge;
      if (edge.kind == Edge::kReturn) continue;
      visit(edge.target, i);
      if (edge.kind == Edge::kCall) visit(edge.value, i);
    }
  }
  std::vector<int32_t> offsets_, links_;
};

/// The nodes from which the end of their rule can be reached; `reads`: bytes and tokens may be taken on the
/// way.
std::vector<bool> ReachEnd(const Network& net, const Arrivals& arrivals, bool reads) {
  std::vector<bool> reach(static_cast<size_t>(net.nodes));
  std::vector<int32_t> open;
  const auto mark = [&](int32_t node) {
    if (reach[node]) return;
    reach[node] = true;
    open.push_back(node);
  };
  for (const Link& link : net.links)
    if (link.edge.kind == Edge::kReturn) mark(link.source);
  while (!open.empty()) {
    const int32_t node = open.back();
    open.pop_back();
    for (const int32_t i : arrivals.At(node)) {
      const auto& [source, edge] = net.links[i];
      const bool consumes = edge.kind == Edge::kBytes || edge.kind == Edge::kToken;
      if (consumes && !reads) continue;
      if (edge.kind == Edge::kCall && !(reach[edge.target] && reach[edge.value])) continue;
      mark(source);
    }
  }
  return reach;
}

/// The links by their source.
struct Departures {
  std::vector<int32_t> offsets;
  std::vector<Edge> edges;

  explicit Departures(const Network& net) : offsets(static_cast<size_t>(net.nodes) + 1) {
    for (const Link& link : net.links) ++offsets[static_cast<size_t>(link.source) + 1];
    for (size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
    edges.resize(net.links.size());
    std::vector<int32_t> next(offsets.begin(), offsets.end() - 1);
    for (const Link& link : net.links) edges[next[link.source]++] = link.edge;
  }
};

/// The rule that a chain of steps without a byte leads back to; -1: none. Depth first, without recursion.
RuleId FindLeftRecursion(const Network& net, const Departures& out, const std::vector<bool>& empty) {
  enum Colour : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> colours(static_cast<size_t>(net.nodes), kNew);
  std::vector<RuleId> rule_of(static_cast<size_t>(net.nodes), -1);
  for (size_t i = 0; i < net.entries.size(); ++i) rule_of[net.entries[i]] = static_cast<RuleId>(i);
  // A chain that stays in a rule may come round ((a*)*); one that comes round through a call may not. Steps
  // through calls are edges of kind kCall, so a loop is left recursion if it has one.
  struct Frame {
    int32_t node, edge;
    bool into_rule, past;  // came by a call; the call of `edge` was looked into and is now stepped over
    int32_t calls;         // on the way here
  };
  std::vector<Frame> way;
  std::vector<int32_t> calls_at(static_cast<size_t>(net.nodes));  // of open nodes
  const auto enter = [&](int32_t node, bool by_call) {
    const int32_t calls = (way.empty() ? 0 : way.back().calls) + by_call;
    colours[node] = kOpen;
    calls_at[node] = calls;
    way.push_back({node, out.offsets[node], by_call, false, calls});
  };
  for (size_t rule = 0; rule < net.entries.size(); ++rule) {
    if (colours[net.entries[rule]] != kNew) continue;
    enter(net.entries[rule], true);
    while (!way.empty()) {
      Frame& top = way.back();
      if (top.edge == out.offsets[static_cast<size_t>(top.node) + 1]) {
        colours[top.node] = kDone;
        way.pop_back();
        continue;
      }
      const Edge& edge = out.edges[top.edge];
      int32_t next = -1;
      bool by_call = false;
      if (edge.kind == Edge::kEpsilon) {
        next = edge.target;
        ++top.edge;
      } else if (edge.kind == Edge::kCall && !top.past) {
        next = edge.value;
        by_call = true;
        top.past = true;
      } else {
        if (edge.kind == Edge::kCall && empty[edge.value]) next = edge.target;
        top.past = false;
        ++top.edge;
      }
      if (next < 0 || colours[next] == kDone) continue;
      if (colours[next] == kNew) {
        enter(next, by_call);
      } else if (top.calls + by_call > calls_at[next]) {
        // The loop goes through the rule that was called last before it closed.
        if (by_call) return rule_of[next];
        for (size_t i = way.size(); i-- > 0;)
          if (way[i].into_rule) return rule_of[way[i].node];
      }
    }
  }
  return -1;
}

/// The node after skips that are a node's only way, so that a call in last place is seen to be one.
int32_t AfterSkips(const Departures& out, int32_t node) {
  for (int steps = 0; steps < 64; ++steps) {
    if (out.offsets[node] + 1 != out.offsets[static_cast<size_t>(node) + 1]) break;
    const Edge& only = out.edges[out.offsets[node]];
    if (only.kind != Edge::kEpsilon) break;
    node = only.target;
  }
  return node;
}

bool IsExit(const Departures& out, int32_t node) {
  return out.offsets[node] + 1 == out.offsets[static_cast<size_t>(node) + 1] &&
         out.edges[out.offsets[node]].kind == Edge::kReturn;
}

/// Takes out what can't reach an end, and skips of a node to itself.
void Trim(Network& net, const std::vector<bool>& reach) {
  std::erase_if(net.links, [&](const Link& link) {
    const Edge& edge = link.edge;
    if (edge.kind == Edge::kReturn) return false;
    return !reach[edge.target] || (edge.kind == Edge::kCall && !reach[edge.value]) ||
           (edge.kind == Edge::kEpsilon && edge.target == link.source);
  });
}

}  // namespace

Result<std::shared_ptr<const Program>> Program::Compile(const Grammar& grammar, RuleId root) {
  RETURN_IF_ERROR(grammar.CheckSize());
  for (size_t i = 0; i < grammar.rule_count(); ++i) {
    const Grammar::Rule& rule = grammar.rule(static_cast<RuleId>(i));
    if (rule.body < 0) return InvalidArgument("the rule '{}' is used and not defined", rule.name);
  }
  ASSIGN_OR_RETURN(Network net, BuildNetwork(grammar));
  const Arrivals arrivals(net);
  const RuleId loop = FindLeftRecursion(net, Departures(net), ReachEnd(net, arrivals, /*reads=*/false));
  if (loop >= 0)
    return InvalidArgument(
        "the rule '{}' is left-recursive: it comes back to itself before any text; put the recursion last, "
        "or use '*'",
        grammar.rule(loop).name);
  const std::vector<bool> reach = ReachEnd(net, arrivals, /*reads=*/true);
  if (!reach[net.entries[root]])
    return InvalidArgument("the grammar matches nothing: the rule '{}' never comes to an end",
                           grammar.rule(root).name);
  Trim(net, reach);

  auto program = std::make_shared<Program>();
  program->entry_ = net.entries[root];
  Departures out(net);
  for (Edge& edge : out.edges) {
    if (edge.kind == Edge::kCall && IsExit(out, AfterSkips(out, edge.target))) edge.target = Edge::kTail;
  }
  program->token_counts_.resize(static_cast<size_t>(net.nodes));
  for (size_t node = 0; node < program->token_counts_.size(); ++node) {
    const auto first = out.edges.begin() + out.offsets[node], last = out.edges.begin() + out.offsets[node + 1];
    const auto others = std::partition(first, last, [](const Edge& edge) { return edge.kind == Edge::kToken; });
    program->token_counts_[node] = static_cast<int32_t>(others - first);
  }
  std::array<bool, 257> border{};
  for (const Edge& edge : out.edges) {
    if (edge.kind == Edge::kBytes) border[edge.lo] = border[edge.hi + 1] = true;
  }
  int next = 0;
  for (int byte = 0; byte < 256; ++byte) {
    if (byte > 0 && border[byte]) ++next;
    program->classes_[byte] = static_cast<uint8_t>(next);
  }
  program->class_count_ = next + 1;
  program->offsets_ = std::move(out.offsets);
  program->edges_ = std::move(out.edges);
  return std::shared_ptr<const Program>(std::move(program));
}

}  // namespace hadal::grammar
