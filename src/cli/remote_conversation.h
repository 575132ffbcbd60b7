// A conversation with a model that a service runs: OpenAI's chat completions over HTTPS, streamed.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/chat.h"
#include "cli/sampling_flags.h"
#include "ops/load_client.h"
#include "server/http_client.h"

namespace hadal {

struct RemoteFlags {
  std::string server, ca, token_file, model;
};

/// --server, --ca, --token-file and --server-model; keys client.NAME.
void AddRemoteFlags(CLI::App& verb, RemoteFlags& flags);

/// One turn is one request with all turns before it. A service that is busy (429, 503) is asked again after
/// the time that it names, a few times; other refusals are errors that say what to do.
class RemoteConversation final : public Conversation {
 public:
  /// Asks for the service's models if `flags` names none, and takes the first. Only sampling parameters that
  /// are given are sent. `interrupted` is asked ten times a second; true ends an answer, and Connect.
  /// kInvalidArgument: the address or the token; else what HttpFetch and the service say.
  static Result<RemoteConversation> Connect(const RemoteFlags& flags, const SamplingFlags& sampling,
                                            nlohmann::ordered_json variables, std::string system,
                                            std::function<bool()> interrupted);

  Result<Answer> Say(const std::string& text, const ShowPiece& show) override;
  void Reset() override;
  void SetSystem(std::string text) override;
  const std::string& system() const override { return system_; }
  bool has_template() const override { return true; }
  const std::string& model() const { return model_; }

 private:
  RemoteConversation() = default;
  HttpClientRequest NewRequest(const std::string& method, const std::string& path) const;
  /// The response, whatever its status, once the service is not busy; `request` may be sent again until its
  /// body came.
  Result<HttpResponse> Fetch(const HttpClientRequest& request) const;
  Result<std::string> FirstModel() const;

  Endpoint endpoint_;
  nlohmann::ordered_json fields_;    // of every request: model, sampling
  nlohmann::ordered_json messages_;  // [{"role", "content"}]
  std::string system_, model_;
  std::function<bool()> interrupted_;
};

}  // namespace hadal
