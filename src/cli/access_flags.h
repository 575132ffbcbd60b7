// What `hadal user`, `client`, `token` and `cert` share: the state folder, scopes, lifetimes, passwords.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "server/access.h"
#include "server/secrets.h"

namespace hadal {

/// --state DIR, HADAL_STATE; without either $XDG_STATE_HOME/hadal or ~/.local/state/hadal.
void AddStateFlag(CLI::App& verb, std::string& state);
/// --scope NAME[,NAME], which may stand more than once.
void AddScopeFlag(CLI::App& verb, std::vector<std::string>& scopes, const char* text);

/// The state folder of the flag (or its default), opened; from here on the process writes no core dump.
Result<Path> StateFolderOf(const std::string& flag);
Result<AccessState> OpenStateOf(const std::string& flag);

/// "infer metrics" of the flag's words; kInvalidArgument names what is no scope.
Result<std::string> ScopesOf(const std::vector<std::string>& words);

/// "90s", "15m", "8h", "30d" in seconds; at most ten years.
Result<int64_t> ParseLifetime(const std::string& text);
/// "2026-05-01T12:00:00Z"; "never" for 0.
std::string TimeText(int64_t seconds);

/// A new password: from `file` ("-": the first line of standard input), else typed twice in the terminal
/// without being shown. It is never an argument, which every user of the machine could see.
Result<Secret> ReadNewPassword(const std::string& file);

/// "user NAME" was done by the one who runs this program: into the audit log, on the disk before success is
/// told.
Status AuditCommand(StateDb& db, const std::string& event, const std::string& detail);

/// A table with aligned columns, or a JSON array of objects with the headings as names.
Status PrintTable(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows,
                  bool json);

}  // namespace hadal
