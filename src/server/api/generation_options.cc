#include "server/api/generation_options.h"

namespace hadal::api {

ApiStatus CheckModel(const Fields& fields, const ApiContext& api) {
  std::string model;
  if (!fields.Find("model")) return BadField("model", "'model' is missing; this server has '{}'", api.model);
  RETURN_IF_ERROR(fields.Take("model", model));
  if (model == api.model) return {};
  return tl::unexpected(ApiError(
      404, fmt::format("there is no model '{}' here; this server has '{}'", model.substr(0, 128), api.model),
      "model", "model_not_found"));
}

ApiResult<int64_t> FitMaxTokens(int64_t asked, int64_t absent, size_t prompt_tokens, const ApiContext& api) {
  const int64_t left = api.context - static_cast<int64_t>(prompt_tokens);
  if (left < 1)
    return tl::unexpected(ApiError(400,
                                   fmt::format("the prompt has {} tokens; the context holds {}, the answer's "
                                               "first token included; shorten the prompt",
                                               prompt_tokens, api.context),
                                   "messages", "context_length_exceeded"));
  if (asked > left)
    return tl::unexpected(
        ApiError(400,
                 fmt::format("the prompt has {} tokens and {} are asked for; the context holds "
                             "{}: ask for {} at most",
                             prompt_tokens, asked, api.context, left),
                 "max_tokens", "context_length_exceeded"));
  if (asked > 0) return asked;
  return absent > 0 ? std::min(absent, left) : left;
}

}  // namespace hadal::api
