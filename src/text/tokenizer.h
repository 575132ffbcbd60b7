// Text to token ids and back, as the model's tokenizer.json says.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace hadal {

struct EncodeOptions {
  /// Whether strings such as <｜User｜> in the text become their added tokens. False for text from outside:
  /// then no added token's id is given, unless it is a single byte of text or a single_word token.
  bool parse_special = true;
};

/// A byte-level BPE tokenizer; gives the ids that the Hugging Face `tokenizers` library gives without markers
/// added before or after. A copy is cheap and shares the tables. Threads: const functions are safe from any
/// number.
class Tokenizer {
 public:
  /// Reads `model_dir`/tokenizer.json. Errors carry the path: kNotFound, kUnsupported for what is not
  /// implemented (named), kInvalidArgument for what is malformed.
  static Result<Tokenizer> Load(const Path& model_dir);
  /// The same from the text of such a file.
  static Result<Tokenizer> FromJson(std::string_view json);

  /// The ids of `text`. Each maximal invalid part of UTF-8 in it is taken as U+FFFD.
  /// Cost: O(n log n). kResourceExhausted: more than kMaxTextBytes (after that), or a split pattern that
  /// backtracks without end.
  Result<std::vector<int32_t>> Encode(std::string_view text, EncodeOptions options = {}) const;

  /// The text of `ids`, with each maximal invalid part of the bytes as one U+FFFD.
  /// @param skip_special  leave out tokens with IsSpecial.
  /// kInvalidArgument: an id that names no token.
  Result<std::string> Decode(std::span<const int32_t> ids, bool skip_special = false) const;

  /// One more than the largest id. A model may have more rows of logits than that: those must not be sampled.
  int32_t vocab_size() const;
  /// The id of a token by its content, which is in the byte-level alphabet ("Ġthe") except for added tokens.
  std::optional<int32_t> IdOf(std::string_view token) const;
  /// The bytes that a token decodes to, perhaps a part of a character. Views live as long as a copy of this.
  /// kInvalidArgument: an id that names no token.
  Result<std::string_view> TokenBytes(int32_t id) const;
  /// Whether `id` is an added token with "special": true. Ids that name no token are not special.
  bool IsSpecial(int32_t id) const;

  static constexpr size_t kMaxTextBytes = size_t{64} << 20;

 private:
  struct Tables;
  explicit Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}

  std::shared_ptr<const Tables> tables_;
};

}  // namespace hadal
