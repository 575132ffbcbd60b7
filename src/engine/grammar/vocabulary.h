// The tokens of a model as a tree of their bytes, for masks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace hadal::grammar {

/// Tokens in the order of their bytes, as the tree of their common beginnings, flattened: what follows a node
/// up to `end` lies below it.
class TokenTree {
 public:
  struct Node {
    int32_t end;     // index of the first node that is not below this one
    int32_t token;   // that ends here; -1: none
    uint16_t depth;  // of the byte in its token, from 0
    uint8_t byte;
  };
  struct Entry {
    std::string_view bytes;
    int32_t id;
  };
  TokenTree() = default;
  explicit TokenTree(std::vector<Entry> entries);

  std::span<const Node> nodes() const { return nodes_; }
  /// Bytes of the longest token.
  size_t depth() const { return depth_; }
  size_t bytes() const { return nodes_.size() * sizeof(Node); }

 private:
  std::vector<Node> nodes_;
  size_t depth_ = 0;
};

// A plain token is at most that many plain characters: all of Unicode but control characters, '"', '\', '<'
// and U+FF5C, which texts under a grammar treat specially. Most tokens are plain, and most states treat all
// plain characters alike, so that their mask is mostly known beforehand.
inline constexpr int kPlainCharacters = 16;

/// Built once per model; immutable. Tokens without bytes, special ones and those that end a generation are in
/// no tree: no text of a grammar holds them.
class Vocabulary {
 public:
  /// @param stop_ids  end-of-sequence tokens of the model.
  /// Cost: O(bytes of all tokens), some 100 ms for 129,000 tokens. kInvalidArgument: a token of more than
  /// 64 KiB.
  static Result<std::shared_ptr<const Vocabulary>> Create(Tokenizer tokenizer,
                                                          std::span<const int64_t> stop_ids);

  int32_t size() const { return tokenizer_.vocab_size(); }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const TokenTree& all() const { return all_; }
  /// The tokens that are not plain.
  const TokenTree& rest() const { return rest_; }
  /// [(size + 63) / 64] bits of the plain tokens.
  std::span<const uint64_t> plain() const { return plain_; }
  /// Memory of the trees and the mask.
  size_t bytes() const { return all_.bytes() + rest_.bytes() + plain_.size() * sizeof(uint64_t); }

 private:
  explicit Vocabulary(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

  Tokenizer tokenizer_;
  TokenTree all_, rest_;
  std::vector<uint64_t> plain_;
};

/// Whether `c` is plain.
bool IsPlain(char32_t c);

}  // namespace hadal::grammar
