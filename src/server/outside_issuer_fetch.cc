// What an outside issuer publishes: its configuration and its key set, over HTTPS.
#include <nlohmann/json.hpp>

#include "server/http_client.h"
#include "server/outside_issuer.h"
#include "server/strict_json.h"

namespace hadal {
namespace {

constexpr size_t kMaxConfigurationBytes = 256 << 10;
constexpr auto kTimeout = std::chrono::seconds(10);

Result<std::string> Fetch(const OutsideIssuerOptions& options, const std::string& url, size_t max_bytes,
                          const std::function<bool()>& cancelled) {
  HttpClientRequest request;
  request.url = url;
  request.headers = {{"Accept", "application/json"}};
  request.ca_file = options.ca_file;
  request.allow_loopback_http = options.allow_loopback_http;
  request.connect_timeout = kTimeout;
  request.total_timeout = kTimeout;
  request.max_response_bytes = max_bytes;
  request.cancelled = cancelled;
  ASSIGN_OR_RETURN(HttpResponse response, HttpFetch(request));
  if (response.status == 200) return std::move(response.body);
  return Unavailable("{} answered with status {}, not 200", url.substr(0, url.find('?')), response.status);
}

/// The jwks_uri of the issuer's configuration, which must be the issuer's own.
Result<std::string> Discover(const OutsideIssuerOptions& options, const std::function<bool()>& cancelled) {
  std::string url = options.issuer;
  if (url.ends_with('/')) url.pop_back();
  url += "/.well-known/openid-configuration";
  ASSIGN_OR_RETURN(const std::string text, Fetch(options, url, kMaxConfigurationBytes, cancelled));
  const Result<nlohmann::json> configuration = ParseStrictObject(text);
  if (!configuration) return DataLoss("{}: {}", url, configuration.error().message);
  const auto member = [&](const char* name) -> const std::string* {
    const auto found = configuration->find(name);
    return found == configuration->end() ? nullptr : found->get_ptr<const std::string*>();
  };
  const std::string* issuer = member("issuer");
  if (issuer == nullptr || *issuer != options.issuer)
    return DataLoss("{} is not the configuration of {}: its issuer is another; check the issuer's exact name",
                    url, options.issuer);
  const std::string* keys = member("jwks_uri");
  if (keys == nullptr) return DataLoss("{} names no jwks_uri; give the address of the key set", url);
  return *keys;
}

}  // namespace

Result<KeySet> FetchKeySet(const OutsideIssuerOptions& options, const std::function<bool()>& cancelled) {
  std::string url = options.jwks;
  if (url.empty()) {
    ASSIGN_OR_RETURN(url, Discover(options, cancelled));
  }
  ASSIGN_OR_RETURN(const std::string text, Fetch(options, url, kMaxJwkSetBytes, cancelled));
  Result<KeySet> keys = ParseJwkSet(text);
  if (!keys)
    return MakeError(keys.error().code, "{}: {}", url.substr(0, url.find('?')), keys.error().message);
  return keys;
}

}  // namespace hadal
