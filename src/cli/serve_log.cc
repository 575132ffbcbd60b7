#include "cli/serve_log.h"

#include "cli/flags.h"
#include "cli/settings.h"

namespace hadal {

void AddServeLogFlags(CLI::App& verb, ServeLogFlags& flags) {
  Setting(AddChoice(verb, "--log-format", flags.format, {"text", "json"}, "Of the lines on standard error"),
          "log.format");
  Setting(AddChoice(verb, "--log-level", flags.level, {"debug", "info", "warn", "error"},
                    "Least level of lines: warn leaves out answered requests, debug adds probes and scrapes"),
          "log.level");
  Setting(AddNumber(verb, "--memory-gbps", flags.memory_gbps, 0, 1e6,
                    "GB/s of memory that /metrics holds decode steps against; 0: measured at start"),
          "metrics.memory_gbps");
}

Result<Log::Options> ToLogOptions(const ServeLogFlags& flags) {
  Log::Options options;
  ASSIGN_OR_RETURN(options.format, ParseLogFormat(flags.format));
  ASSIGN_OR_RETURN(options.level, ParseLogLevel(flags.level));
  return options;
}

void Say(Log& log, std::string_view sentence, LogLevel level) {
  log.Write(level, "note", {{"text", sentence}});
}

}  // namespace hadal
