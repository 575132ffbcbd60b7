#include "text/detokenizer.h"

#include "text/utf8.h"

namespace hadal {

Result<std::string> StreamDecoder::Push(int32_t id) {
  ASSIGN_OR_RETURN(const std::string_view bytes, tokenizer_.TokenBytes(id));
  std::string text;
  if (skip_special_ && tokenizer_.IsSpecial(id)) return text;
  pending_.append(bytes);
  const size_t left = AppendRepairedUtf8(pending_, text);
  pending_.erase(0, pending_.size() - left);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text = RepairUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace hadal
