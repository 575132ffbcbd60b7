#include "server/api/api_context.h"

#include <ctime>

namespace hadal::api {

Result<ApiContext> MakeApiContext(const Path& model_dir, const ModelConfig& config, std::string model) {
  ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Load(model_dir));
  ApiContext api{.model = std::move(model),
                 .created = static_cast<int64_t>(std::time(nullptr)),
                 .tokenizer = std::move(tokenizer)};
  auto chat_template = ChatTemplate::Load(model_dir);
  if (chat_template) {
    api.format = DetectOutputFormat(chat_template->source());
    api.chat_template = *std::move(chat_template);
  } else if (chat_template.error().code != Code::kNotFound) {
    return tl::unexpected(std::move(chat_template).error());
  }
  api.stop_ids = config.eos_token_ids;
  api.bos = static_cast<int32_t>(config.bos_token_id);
  ASSIGN_OR_RETURN(api.vocabulary, grammar::Vocabulary::Create(api.tokenizer, api.stop_ids));
  return api;
}

Result<ApiContext> MakeApiContext(const Path& model_dir, const EngineLoop& loop, std::string model) {
  ASSIGN_OR_RETURN(ApiContext api, MakeApiContext(model_dir, loop.engine().config(), std::move(model)));
  api.context = loop.context();
  return api;
}

}  // namespace hadal::api
