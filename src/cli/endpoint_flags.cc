#include "cli/endpoint_flags.h"

#include <algorithm>
#include <cstdlib>

#include "base/file.h"

namespace hadal {
namespace {

constexpr size_t kMostTokenBytes = size_t{64} << 10;

/// `text` without what surrounds its first line. `where` is for errors, which never quote the text.
Result<Secret> TokenOf(std::string_view text, const std::string& where) {
  text = text.substr(0, text.find('\n'));
  const size_t first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  if (first == std::string_view::npos)
    return InvalidArgument("{} has no token in its first line; 'hadal token issue' prints one", where);
  text = text.substr(first, last - first + 1);
  if (std::ranges::any_of(text, [](char c) { return c <= ' ' || c > '~'; }))
    return InvalidArgument(
        "{} does not look like a token: it has blanks or other characters that no header may hold", where);
  return Secret(text);
}

}  // namespace

void AddEndpointFlags(CLI::App& verb, EndpointFlags& flags) {
  verb.add_option("--url", flags.url, "Address of the API, with its /v1")->required()->type_name("URL");
  verb.add_option("--ca", flags.ca, "CA certificate to trust (PEM); without it the system's")
      ->type_name("FILE");
  verb.add_option("--token-file", flags.token_file, "File with the bearer token; without it HADAL_TOKEN")
      ->type_name("FILE");
  verb.add_option("--model", flags.model, "Name of the model in the API")->required()->type_name("NAME");
}

Result<Secret> ReadToken(const std::string& file) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(file, kMostTokenBytes, FileKind::kAny));
  Result<Secret> token = TokenOf(text, file);
  Wipe(text);
  return token;
}

Result<Endpoint> ToEndpoint(const EndpointFlags& flags) {
  Endpoint endpoint;
  endpoint.url = flags.url;
  endpoint.ca_file = flags.ca;
  const char* variable = std::getenv("HADAL_TOKEN");
  if (!flags.token_file.empty() || (variable && *variable)) RETURN_IF_ERROR(ForbidCoreDumps());
  if (!flags.token_file.empty()) {
    ASSIGN_OR_RETURN(endpoint.token, ReadToken(flags.token_file));
  } else if (variable && *variable) {
    ASSIGN_OR_RETURN(endpoint.token, TokenOf(variable, "HADAL_TOKEN"));
  }
  return endpoint;
}

}  // namespace hadal
