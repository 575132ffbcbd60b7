// The flags of `hadal serve` that say what it tells: its log and its metrics.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "base/log.h"

namespace hadal {

struct ServeLogFlags {
  std::string format = "text", level = "info";
  double memory_gbps = 0;
};

/// Their keys in hadal.yaml are log.format, log.level and metrics.memory_gbps.
void AddServeLogFlags(CLI::App& verb, ServeLogFlags& flags);

Result<Log::Options> ToLogOptions(const ServeLogFlags& flags);

/// A sentence for people: as it is, or in a log of JSON as the text of a line with the event "note", so that all of
/// standard error can be read by a program.
void Say(Log& log, std::string_view sentence, LogLevel level = LogLevel::kInfo);

}  // namespace hadal
