#include "engine/grammar/network.h"

#include <algorithm>
#include <map>

namespace hadal::grammar {
namespace {

struct ByteRange {
  uint8_t lo, hi;
  auto operator<=>(const ByteRange&) const = default;
};
using ByteRanges = std::vector<ByteRange>;

/// The bytes of `c` in UTF-8, `length` of them.
std::array<uint8_t, 4> Encode(char32_t c, int length) {
  constexpr uint8_t kLead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
  std::array<uint8_t, 4> bytes{};
  for (int i = length - 1; i > 0; --i, c >>= 6) bytes[i] = static_cast<uint8_t>(0x80 | (c & 0x3F));
  bytes[0] = static_cast<uint8_t>(kLead[length] | c);
  return bytes;
}

/// Cuts characters of one length of encoding into runs whose bytes vary independently of each other: as soon
/// as a byte varies, all after it take their whole range.
void CutRun(char32_t first, char32_t last, int length, std::vector<ByteRanges>& out) {
  for (int i = 1; i < length; ++i) {
    const char32_t low_bits = (char32_t{1} << (6 * i)) - 1;
    if ((first & ~low_bits) == (last & ~low_bits)) break;
    if ((first & low_bits) != 0) {
      CutRun(first, first | low_bits, length, out);
      return CutRun((first | low_bits) + 1, last, length, out);
    }
    if ((last & low_bits) != low_bits) {
      CutRun(first, (last & ~low_bits) - 1, length, out);
      return CutRun(last & ~low_bits, last, length, out);
    }
  }
  const auto lo = Encode(first, length), hi = Encode(last, length);
  ByteRanges bytes;
  for (int i = 0; i < length; ++i) bytes.push_back({lo[i], hi[i]});
  out.push_back(std::move(bytes));
}

std::vector<ByteRanges> Utf8Ranges(const std::vector<CodeRange>& ranges) {
  constexpr char32_t kFirstOf[] = {0, 0, 0x80, 0x800, 0x10000};
  constexpr char32_t kLastOf[] = {0, 0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
  std::vector<ByteRanges> out;
  for (const CodeRange& range : ranges) {
    for (int length = 1; length <= 4; ++length) {
      const char32_t first = std::max(range.first, kFirstOf[length]);
      const char32_t last = std::min(range.last, kLastOf[length]);
      if (first <= last) CutRun(first, last, length, out);
    }
  }
  return out;
}

class Builder {
 public:
  explicit Builder(const Grammar& grammar) : grammar_(grammar) {}

  Result<Network> Build() {
    for (size_t i = 0; i < grammar_.rule_count(); ++i) net_.entries.push_back(Node());
    for (size_t i = 0; i < grammar_.rule_count(); ++i) {
      const ExprId body = grammar_.rule(static_cast<RuleId>(i)).body;
      if (body < 0) continue;
      const int32_t exit = Node();
      Add(exit, {.kind = Edge::kReturn});
      Emit(body, net_.entries[i], exit);
      if (Full())
        return ResourceExhausted(
            "the grammar is too large: it unfolds to more than {} nodes or {} edges; ask for fewer "
            "repetitions or shorter lists",
            kMaxNodes, kMaxEdges);
    }
    return std::move(net_);
  }

 private:
  bool Full() const { return static_cast<size_t>(net_.nodes) > kMaxNodes || net_.links.size() > kMaxEdges; }
  int32_t Node() { return net_.nodes++; }
  void Add(int32_t source, Edge edge) { net_.links.push_back({source, edge}); }
  void Skip(int32_t from, int32_t to) { Add(from, {.kind = Edge::kEpsilon, .target = to}); }
  void Bytes(int32_t from, uint8_t lo, uint8_t hi, int32_t to) {
    Add(from, {.kind = Edge::kBytes, .lo = lo, .hi = hi, .target = to});
  }

  /// Ways from `from` to `to` for each text of the expression. Adds no way back to `from`, nor out of `to`.
  /// Recursion is bounded by the depth of the tree, which parsers bound.
  void Emit(ExprId id, int32_t from, int32_t to) {
    if (Full()) return;
    const Expr& expr = grammar_.expr(id);
    switch (expr.kind) {
      case Expr::kLiteral:
        return EmitLiteral(expr.text, from, to);
      case Expr::kClass:
        return EmitClass(expr.ranges, from, to);
      case Expr::kSequence:
        return EmitSequence(expr.children, from, to);
      case Expr::kChoice:
        for (const ExprId child : expr.children) Emit(child, from, to);
        return;
      case Expr::kRepeat:
        return EmitRepeat(expr, from, to);
      case Expr::kRule:
        return Add(from, {.kind = Edge::kCall, .target = to, .value = net_.entries[expr.value]});
      case Expr::kToken:
        return Add(from, {.kind = Edge::kToken, .target = to, .value = expr.value});
      case Expr::kStrings:
        return EmitStrings(expr.strings, from, to);
      case Expr::kTextWithout:
        return EmitTextWithout(expr.text, from, to);
    }
  }

  void EmitLiteral(const std::string& text, int32_t from, int32_t to) {
    if (text.empty()) return Skip(from, to);
    for (size_t i = 0; i < text.size(); ++i) {
      const int32_t next = i + 1 == text.size() ? to : Node();
      const auto byte = static_cast<uint8_t>(text[i]);
      Bytes(from, byte, byte, next);
      from = next;
    }
  }

  /// Runs that end alike share their last nodes.
  void EmitClass(const std::vector<CodeRange>& ranges, int32_t from, int32_t to) {
    std::map<ByteRanges, int32_t> tails{{{}, to}};
    for (const ByteRanges& run : Utf8Ranges(ranges)) {
      int32_t next = to;
      for (size_t i = run.size() - 1; i > 0; --i) {
        const auto [tail, is_new] =
            tails.try_emplace(ByteRanges(run.begin() + static_cast<long>(i), run.end()));
        if (is_new) {
          tail->second = Node();
          Bytes(tail->second, run[i].lo, run[i].hi, next);
        }
        next = tail->second;
      }
      Bytes(from, run[0].lo, run[0].hi, next);
    }
  }

  void EmitSequence(const std::vector<ExprId>& children, int32_t from, int32_t to) {
    if (children.empty()) return Skip(from, to);
    for (size_t i = 0; i < children.size(); ++i) {
      const int32_t next = i + 1 == children.size() ? to : Node();
      Emit(children[i], from, next);
      from = next;
    }
  }

  void EmitRepeat(const Expr& expr, int32_t from, int32_t to) {
    const ExprId child = expr.children[0];
    for (int64_t i = 0; i < expr.min && !Full(); ++i) {
      const int32_t next = Node();
      Emit(child, from, next);
      from = next;
    }
    if (expr.max == kUnbounded) {
      const int32_t loop = Node();
      Skip(from, loop);
      Emit(child, loop, loop);
      return Skip(loop, to);
    }
    for (int64_t i = expr.min; i < expr.max && !Full(); ++i) {
      const int32_t next = Node();
      Skip(from, to);
      Emit(child, from, next);
      from = next;
    }
    Skip(from, to);
  }

  /// A tree of their common beginnings.
  void EmitStrings(const std::vector<std::string>& strings, int32_t from, int32_t to) {
    std::map<std::pair<int32_t, uint8_t>, int32_t> tree;
    for (const std::string& text : strings) {
      int32_t node = from;
      for (const char c : text) {
        const auto byte = static_cast<uint8_t>(c);
        const auto [found, is_new] = tree.try_emplace({node, byte});
        if (is_new) {
          found->second = Node();
          Bytes(node, byte, byte, found->second);
        }
        node = found->second;
        if (Full()) return;
      }
      Skip(node, to);
    }
  }

  /// The automaton of Knuth, Morris and Pratt: node k has just seen the marker's first k bytes.
  void EmitTextWithout(const std::string& marker, int32_t from, int32_t to) {
    const int32_t first = net_.nodes;
    net_.nodes += static_cast<int32_t>(std::max<size_t>(marker.size(), 1));
    Skip(from, first);
    for (size_t seen = 0; seen < marker.size() && !Full(); ++seen) {
      const int32_t node = first + static_cast<int32_t>(seen);
      Skip(node, to);
      std::array<size_t, 256> next{};
      for (int byte = 0; byte < 256; ++byte) next[byte] = SeenAfter(marker, seen, static_cast<char>(byte));
      for (int lo = 0; lo < 256;) {
        int hi = lo;
        while (hi < 255 && next[hi + 1] == next[lo]) ++hi;
        if (next[lo] < marker.size())
          Bytes(node, static_cast<uint8_t>(lo), static_cast<uint8_t>(hi),
                first + static_cast<int32_t>(next[lo]));
        lo = hi + 1;
      }
    }
  }

  static size_t SeenAfter(std::string_view marker, size_t seen, char c) {
    const std::string text = std::string(marker.substr(0, seen)) + c;
    size_t length = std::min(text.size(), marker.size());
    while (!std::string_view(text).ends_with(marker.substr(0, length))) --length;
    return length;
  }

  const Grammar& grammar_;
  Network net_;
};

}  // namespace

Result<Network> BuildNetwork(const Grammar& grammar) { return Builder(grammar).Build(); }

}  // namespace hadal::grammar
