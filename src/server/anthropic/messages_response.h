// What /v1/messages answers.
#pragma once

#include <memory>
#include <string>

#include "server/api/response.h"

namespace hadal::anthropic {

/// A message of blocks in the order thinking, text, tool_use. Streamed, tool calls come when all text is out,
/// so that the events add up to the same message as the whole answer however the tokens fell.
///
/// `input` is what the model wrote, if that is a JSON object; else {"invalid_arguments": what it wrote}, so
/// that nothing is lost and the tool's own check can tell the model.
std::unique_ptr<api::Response> MakeMessagesResponse(std::string id, std::string model);

}  // namespace hadal::anthropic
