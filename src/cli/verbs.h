// The verbs of the command line: each has a file of that name.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

#include "base/status.h"

namespace hadal {

class Settings;

inline constexpr int kExitOk = 0;
inline constexpr int kExitWarning = 1;  // something is to be looked at, or could not be checked
inline constexpr int kExitFailure = 2;

/// What the chosen verb does once the flags are read; gives the exit code. An error is printed by main as one
/// sentence and exits with kExitFailure.
using Action = std::function<Result<int>()>;

/// Each adds its subcommand to `app`; when that is chosen, parsing sets `action`. Flags live in the action.
void AddRun(CLI::App& app, Action& action);
void AddServe(CLI::App& app, Action& action);
void AddLogits(CLI::App& app, Action& action);
void AddTokenize(CLI::App& app, Action& action);
void AddRender(CLI::App& app, Action& action);
void AddSynth(CLI::App& app, Action& action);
void AddConvert(CLI::App& app, Action& action);
void AddBench(CLI::App& app, Action& action);
void AddTrain(CLI::App& app, Action& action);
void AddUser(CLI::App& app, Action& action);
void AddClient(CLI::App& app, Action& action);
void AddToken(CLI::App& app, Action& action);
void AddCert(CLI::App& app, Action& action);
void AddConfig(CLI::App& app, Action& action, std::shared_ptr<const Settings> settings);

}  // namespace hadal
