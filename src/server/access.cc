#include "server/access.h"

#include <ctime>

#include "server/state_folder.h"

namespace hadal {
namespace {

/// Writes a setting that was given and is not what is there.
Status Remember(StateDb& db, const char* name, const std::string& value) {
  if (value.empty()) return {};
  ASSIGN_OR_RETURN(const std::string before, db.Setting(name));
  return before == value ? Status() : db.SetSetting(name, value);
}

}  // namespace

int64_t UnixSeconds() { return std::time(nullptr); }

Result<AccessState> OpenAccessState(const Path& state) {
  RETURN_IF_ERROR(OpenStateFolder(state));
  AccessState opened;
  ASSIGN_OR_RETURN(opened.db, StateDb::Open(state));
  ASSIGN_OR_RETURN(opened.keys, SigningKeys::Open(state));
  ASSIGN_OR_RETURN(TokenIssuerOptions options, LoadIssuerOptions(*opened.db));
  opened.issuer = std::make_unique<TokenIssuer>(std::move(options), *opened.keys, *opened.db);
  return opened;
}

Result<std::unique_ptr<Access>> Access::Open(AccessOptions options) {
  RETURN_IF_ERROR(OpenStateFolder(options.state));
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<StateDb> db, StateDb::Open(options.state));
    RETURN_IF_ERROR(Remember(*db, "issuer", options.issuer));
    RETURN_IF_ERROR(Remember(*db, "audience", options.audience));
  }
  std::unique_ptr<Access> access(new Access());
  ASSIGN_OR_RETURN(access->state_, OpenAccessState(options.state));
  ASSIGN_OR_RETURN(access->check_db_, StateDb::Open(options.state));
  ASSIGN_OR_RETURN(access->quota_db_, StateDb::Open(options.state));
  const TokenIssuerOptions& names = access->state_.issuer->options();
  std::vector<OutsideIssuer*> outside;
  for (OutsideIssuerOptions& issuer : options.outside) {
    if (issuer.issuer == names.issuer)
      return InvalidArgument("the outside issuer has this server's own name, {}", names.issuer);
    for (const OutsideIssuer* other : outside)
      if (other->options().issuer == issuer.issuer)
        return InvalidArgument("the outside issuer {} is named twice", issuer.issuer);
    ASSIGN_OR_RETURN(access->outside_.emplace_back(), OutsideIssuer::Open(std::move(issuer)));
    outside.push_back(access->outside_.back().get());
  }
  ASSIGN_OR_RETURN(access->denial_db_, StateDb::Open(options.state));
  access->denials_ = std::make_unique<DenialLog>(*access->denial_db_, options.now);
  AuthorizerOptions rules{names.issuer, names.audience, options.now};
  rules.on_denied = [denials = access->denials_.get()](
                        const HttpRequest& request, const Authorizer::Denial& denial,
                        const std::string& subject) { denials->Note(request, denial, subject); };
  access->authorizer_ =
      std::make_unique<TokenAuthorizer>(std::move(rules), *access->state_.keys, *access->check_db_, outside);
  access->quotas_ = std::make_unique<Quotas>(*access->quota_db_, options.now);
  OAuthOptions oauth{
      .throttle = options.throttle, .password_cost = options.password_cost, .now = options.now};
  access->oauth_ = std::make_unique<OAuthService>(std::move(oauth), *access->state_.issuer,
                                                  *access->state_.keys, *access->state_.db);
  return access;
}

std::string Access::Exposition() const {
  if (outside_.empty()) return {};
  struct Family {
    const char *name, *type, *help;
    double (*value)(const OutsideIssuer::Stats&);
  };
  static constexpr Family kFamilies[] = {
      {"hadal_issuer_keys", "gauge", "Keys of the outside issuer in use.",
       [](const OutsideIssuer::Stats& stats) { return static_cast<double>(stats.keys); }},
      {"hadal_issuer_fetches_total", "counter", "Attempts to get the outside issuer's keys.",
       [](const OutsideIssuer::Stats& stats) { return static_cast<double>(stats.loads); }},
      {"hadal_issuer_fetch_failures_total", "counter",
       "Attempts that failed; the last good keys stay in use.",
       [](const OutsideIssuer::Stats& stats) { return static_cast<double>(stats.failures); }},
      {"hadal_issuer_keys_age_seconds", "gauge",
       "Time since the outside issuer's keys were last got; -1: never.",
       [](const OutsideIssuer::Stats& stats) { return stats.seconds_since_success; }},
  };
  std::string text;
  for (const Family& family : kFamilies) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", family.name, family.help, family.name, family.type);
    for (const auto& issuer : outside_) {
      // Quotes and backslashes, the only letters that a label must escape, may stand in a name.
      std::string label;
      for (const char c : issuer->options().issuer)
        label += c == '"' || c == '\\' ? std::string{'\\', c} : std::string{c};
      text += fmt::format("{}{{issuer=\"{}\"}} {}\n", family.name, label, family.value(issuer->stats()));
    }
  }
  return text;
}

}  // namespace hadal
