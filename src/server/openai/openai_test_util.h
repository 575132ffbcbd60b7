// OpenAI's routes over a script instead of an engine.
#pragma once

#include "server/api/api_test_util.h"
#include "server/openai/routes.h"

namespace hadal::openai {

class Api : public TestApi {
 public:
  explicit Api(const std::string& template_name = "deepseek-v3.1") : TestApi(template_name, OpenAiRoutes) {}

  std::shared_ptr<RecordingWriter> Chat(const std::string& body) {
    return Call("POST", "/v1/chat/completions", body);
  }
  std::shared_ptr<RecordingWriter> Complete(const std::string& body) {
    return Call("POST", "/v1/completions", body);
  }
};

/// A chat of one user message, with more members after it: `, "n": 2`.
inline std::string Hello(const std::string& more = {}) {
  return R"({"model": "deep", "messages": [{"role": "user", "content": "Hello"}])" + more + "}";
}

/// `json` with the members that differ from run to run replaced.
inline Ordered Stable(Ordered json) {
  if (json.contains("id"))
    json["id"] = json["id"].get<std::string>().substr(0, json["id"].get<std::string>().find('-'));
  if (json.contains("created")) json["created"] = 0;
  return json;
}

}  // namespace hadal::openai
