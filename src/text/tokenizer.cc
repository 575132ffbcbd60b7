#include "text/tokenizer.h"

#include <simdjson.h>

#include "text/byte_level.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace hadal {

struct Tokenizer::Tables {
  TokenizerParts parts;
  std::string bytes;            // of all tokens by ascending id, one after the other
  std::vector<size_t> offsets;  // [vocab_size + 1] where the bytes of an id begin
  std::vector<bool> special;    // [vocab_size]
};

Result<Tokenizer> Tokenizer::Load(const Path& model_dir) {
  const Path path = model_dir / "tokenizer.json";
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path));
  auto tokenizer = FromJson(json);
  if (!tokenizer)
    return MakeError(tokenizer.error().code, "{}: {}", path.string(), tokenizer.error().message);
  return tokenizer;
}

Result<Tokenizer> Tokenizer::FromJson(std::string_view json) {
  ASSIGN_OR_RETURN(TokenizerParts parts, ParseTokenizerJson(json));
  auto tables = std::make_shared<Tables>(Tables{std::move(parts), {}, {}, {}});
  const TokenMap& tokens = tables->parts.tokens;
  for (int32_t id = 0; id < tokens.end_id(); ++id) {
    tables->offsets.push_back(tables->bytes.size());
    if (!tokens.Has(id)) continue;
    // Like the reference's decoder: a token with a character outside the alphabet stands for itself.
    const auto bytes = BytesOfByteLevel(tokens.At(id));
    tables->bytes.append(bytes ? std::string_view(*bytes) : tokens.At(id));
  }
  tables->offsets.push_back(tables->bytes.size());
  tables->special.assign(tokens.end_id(), false);
  for (const AddedToken& token : tables->parts.added) tables->special[token.id] = token.special;
  return Tokenizer(std::move(tables));
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, EncodeOptions options) const {
  std::string repaired;
  if (text.size() <= kMaxTextBytes && !simdjson::validate_utf8(text.data(), text.size())) {
    repaired = RepairUtf8(text);
    text = repaired;
  }
  if (text.size() > kMaxTextBytes)
    return ResourceExhausted("the text has {} bytes; at most {} can be tokenized at once", text.size(),
                             kMaxTextBytes);
  const TokenizerParts& parts = tables_->parts;
  RegexRun run(text.size());
  std::vector<Segment> segments{{text, -1}};
  if (options.parse_special) {
    ASSIGN_OR_RETURN(segments, parts.matcher.Split(text, run));
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + segments.size());
  PreTokenizer::Pieces pieces;
  Bpe::Scratch scratch;
  for (const Segment& segment : segments) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      continue;
    }
    RETURN_IF_ERROR(parts.pre_tokenizer.Split(segment.text, run, pieces));
    for (const std::string_view piece : pieces.views) parts.bpe.Encode(piece, scratch, ids);
  }
  return ids;
}

Result<std::string> Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    ASSIGN_OR_RETURN(const std::string_view token, TokenBytes(id));
    if (!skip_special || !IsSpecial(id)) bytes.append(token);
  }
  if (simdjson::validate_utf8(bytes)) return bytes;
  return RepairUtf8(bytes);
}

int32_t Tokenizer::vocab_size() const { return tables_->parts.tokens.end_id(); }

std::optional<int32_t> Tokenizer::IdOf(std::string_view token) const {
  return tables_->parts.tokens.Find(token);
}

Result<std::string_view> Tokenizer::TokenBytes(int32_t id) const {
  if (!tables_->parts.tokens.Has(id))
    return InvalidArgument("no token has the id {}; the vocabulary has {} ids from 0{}", id, vocab_size(),
                           id >= 0 && id < vocab_size() ? ", this one left out" : "");
  const size_t begin = tables_->offsets[id];
  return std::string_view(tables_->bytes).substr(begin, tables_->offsets[id + 1] - begin);
}

bool Tokenizer::IsSpecial(int32_t id) const { return id >= 0 && id < vocab_size() && tables_->special[id]; }

}  // namespace hadal
