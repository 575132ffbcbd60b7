// Which server a verb talks to, and what it shows there.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "ops/load_client.h"

namespace hadal {

struct EndpointFlags {
  std::string url, ca, token_file, model;
};

/// --url, --ca, --token-file, --model.
void AddEndpointFlags(CLI::App& verb, EndpointFlags& flags);

/// The token of a file's first line; kInvalidArgument if it has none or one that no header can hold.
Result<Secret> ReadToken(const std::string& file);

/// With the token of --token-file, else of HADAL_TOKEN, else none; from here on the process writes no core
/// dump if there is one.
Result<Endpoint> ToEndpoint(const EndpointFlags& flags);

}  // namespace hadal
