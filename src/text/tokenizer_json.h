// Reads tokenizer.json, the Hugging Face `tokenizers` format, as far as byte-level BPE goes.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"
#include "text/token_map.h"

namespace hadal {

/// What a tokenizer is made of, checked: ids are unique and below kMaxTokens, merges and added tokens agree
/// with the vocabulary.
struct TokenizerParts {
  TokenMap tokens;                // contents and ids, added tokens included
  std::vector<AddedToken> added;  // in the file's order
  AddedTokens matcher;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
};

inline constexpr int32_t kMaxTokens = 1 << 24;

/// Parses the text of a tokenizer.json. Normalizer, pre-tokenizer, model or decoder of a type or with a
/// setting that is not implemented: kUnsupported, naming it. Malformed or inconsistent: kInvalidArgument.
/// `truncation`, `padding` and `post_processor` are not read: they do not touch a text encoded without added
/// markers.
Result<TokenizerParts> ParseTokenizerJson(std::string_view json);

}  // namespace hadal
