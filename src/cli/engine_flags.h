// Flags of every verb that loads a model.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "cli/flags.h"
#include "cli/output.h"
#include "engine/engine.h"

namespace hadal {

struct EngineFlags {
  std::string model;
  std::string weights = "as-stored", compute = "auto", kernels = "auto", act_quant = "none";
  int32_t group = 32;
  int threads = 0;
  int64_t context = 0;
  int64_t chunk = 512;
  bool verbose = false;
};

/// --model alone, for verbs that need no weights.
void AddModelFlag(CLI::App& verb, std::string& model);
/// All of EngineFlags. Their keys in hadal.yaml are engine.NAME.
void AddEngineFlags(CLI::App& verb, EngineFlags& flags);

/// kInvalidArgument for flags that do not go together.
Result<EngineOptions> ToEngineOptions(const EngineFlags& flags);

/// Loads the folder. Before it, on a terminal or with --verbose, a line with the memory it needs and what is
/// available; after it, what was read and how fast; options.load.progress is called as well as the bar drawn. A folder of
/// random weights is said to be one in any case. `note` takes these lines.
Result<std::unique_ptr<Engine>> LoadEngine(const Path& folder, EngineOptions options, bool verbose,
                                           const std::function<void(std::string_view)>& note = PrintNote);

}  // namespace hadal
