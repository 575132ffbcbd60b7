// From a document of text, or a line of JSONL, to tokens and what is learnt of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "text/chat_prompt.h"

namespace hadal::train {

/// Documents one after another; flags as in token_shards.h.
struct TokenDocuments {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> flags;  // [tokens]
};

/// Uses a tokenizer folder: tokenizer.json, tokenizer_config.json (end of sequence, perhaps a beginning) and,
/// for chats, its chat template. Threads: const functions are safe from any number.
class DocumentEncoder {
 public:
  /// kNotFound: a file, or an end-of-sequence token in tokenizer_config.json. Else the errors of the parts.
  static Result<DocumentEncoder> Load(const Path& folder);

  /// Appends [begin of sequence] text [end of sequence]; all but the first mark is learnt. The beginning is
  /// there if tokenizer_config.json has "add_bos_token": true. No marker in the text becomes its token.
  Status EncodeText(std::string_view text, TokenDocuments& out) const;

  /// Appends what a JSON object holds: {"text": "..."}, as EncodeText, or {"messages": [...], "tools": [...],
  /// "chat_template_kwargs": {...}}, a chat in OpenAI's form; other members are ignored. kInvalidArgument
  /// says what is wrong with it; `out` is then as it was.
  ///
  /// A chat is written as serving will meet it: each turn of the assistant follows the prompt that the
  /// template makes of the messages before it, and is learnt with its end token; nothing else is. The
  /// variable `thinking` is true for a turn that has "reasoning_content", unless chat_template_kwargs sets
  /// it. Where a turn is written otherwise once more follows (templates drop earlier reasoning), it stays as
  /// the end of a document of its own, so that every turn is learnt once, after what precedes it in use.
  /// Messages after the last turn are left out.
  Status EncodeLine(std::string_view json, TokenDocuments& out) const;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  /// Of tokenizer.json.
  const std::string& fingerprint() const { return fingerprint_; }
  /// Of all else that decides what tokens come out.
  const std::string& style_fingerprint() const { return style_fingerprint_; }

 private:
  explicit DocumentEncoder(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}
  struct Turn {
    size_t begin, end;  // of the rendered text
  };
  Status EncodeChat(ChatInput chat, TokenDocuments& out) const;
  Status AppendChat(const RenderedChat& rendered, const std::vector<Turn>& turns, TokenDocuments& out) const;

  Tokenizer tokenizer_;
  std::optional<ChatTemplate> chat_template_;
  OutputFormat format_;
  int32_t begin_ = -1, end_ = -1;  // tokens around a document; begin_ -1: none
  std::string fingerprint_, style_fingerprint_;
};

/// Hexadecimal, of the bytes of `folder`/tokenizer.json.
Result<std::string> TokenizerFingerprint(const Path& folder);

}  // namespace hadal::train
