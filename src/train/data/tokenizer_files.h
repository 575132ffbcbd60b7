// The files of a tokenizer folder: tokenizer.json and tokenizer_config.json, as Hugging Face's libraries read
// them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "train/data/bpe_trainer.h"

namespace hadal::train {

struct SpecialToken {
  std::string content;
  bool special = false;  // left out where decoding is asked to; the markers of chats and calls must not be
};

/// Begin and end of sequence, padding, and what DefaultChatTemplate writes.
std::vector<SpecialToken> DefaultSpecialTokens();
inline constexpr std::string_view kBeginToken = "<｜begin▁of▁sentence｜>",
                                  kEndToken = "<｜end▁of▁sentence｜>", kPadToken = "<｜▁pad▁｜>";

/// Roles, reasoning and tool calls marked as DeepSeek-V3.1 does; tools are listed in the system part, a JSON
/// object a line. `thinking` (false) asks for reasoning; reasoning_content is shown in turns after the last
/// user message only.
std::string_view DefaultChatTemplate();

/// The text of a tokenizer.json. Special tokens have the ids from 0, then come the trained ones, the 256
/// bytes first. Text is cut as DeepSeek-V3's tokenizer does, with 1 to 3 `digits` in a piece at most.
std::string TokenizerJsonText(const TrainedBpe& bpe, const std::vector<SpecialToken>& special, int digits);
std::string TokenizerConfigText(std::string_view chat_template);

}  // namespace hadal::train
