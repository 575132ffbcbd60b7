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
  if (options.outside) {
    if (options.outside->issuer == names.issuer)
      return InvalidArgument("the outside issuer has this server's own name, {}", names.issuer);
    ASSIGN_OR_RETURN(access->outside_, OutsideIssuer::Open(std::move(*options.outside)));
  }
  access->authorizer_ =
      std::make_unique<TokenAuthorizer>(AuthorizerOptions{names.issuer, names.audience, options.now},
                                        *access->state_.keys, *access->check_db_, access->outside_.get());
  access->quotas_ = std::make_unique<Quotas>(*access->quota_db_, options.now);
  OAuthOptions oauth{
      .throttle = options.throttle, .password_cost = options.password_cost, .now = options.now};
  access->oauth_ = std::make_unique<OAuthService>(std::move(oauth), *access->state_.issuer,
                                                  *access->state_.keys, *access->state_.db);
  return access;
}

}  // namespace hadal
