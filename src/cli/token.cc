// hadal token: tokens and API keys from the command line, revocation, rotation of the signing key.
#include <algorithm>
#include <memory>

#include "cli/access_flags.h"
#include "cli/flags.h"
#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "server/auth_types.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Whoever may write the state folder may give out any scope. 'issue' prints the token and nothing
else on standard output; the client is made if there is none of that name.

Example:
  TOKEN=$(hadal token issue --client ci --scope infer)
  hadal token issue --client app --scope infer --api-key --lifetime 90d
  hadal token list --json
  hadal token revoke ID            the ID that list shows
  hadal token revoke --client ci   all of a client's
  hadal token audit --last 20      the audit log's end
  hadal token rotate               a new signing key; the old one verifies until its tokens end)";

constexpr const char* kDefaultLifetime = "8h";

struct TokenFlags {
  std::string state, client, user, id, lifetime, algorithm = "ES256";
  std::vector<std::string> scopes{std::string(kScopeInfer)};
  std::string event;
  int64_t last = 100;
  bool api_key = false, json = false, all = false;
};

/// The subject that --client or --user names.
Result<std::string> SubjectOf(const TokenFlags& flags) {
  if (flags.client.empty() == flags.user.empty())
    return InvalidArgument("name one of --client NAME and --user NAME");
  RETURN_IF_ERROR(CheckAccountName(flags.client.empty() ? flags.user : flags.client));
  return flags.client.empty() ? UserSubject(flags.user) : ClientSubject(flags.client);
}

/// The account is there and enabled; a client is made where there is none.
Status PrepareAccount(StateDb& db, const TokenFlags& flags, const std::string& subject,
                      const std::string& scopes) {
  const Result<Account> account = db.FindAccount(subject);
  if (account && account->disabled) return FailedPrecondition("{} is disabled; enable it first", subject);
  if (account) return {};
  if (account.error().code != Code::kNotFound || flags.client.empty()) return tl::unexpected(account.error());
  const Status added = db.AddAccount({subject, "", scopes, false, UnixSeconds()});
  // Another process may have made it meanwhile.
  if (!added && added.error().code != Code::kFailedPrecondition) return added;
  return AuditCommand(db, "client_added", fmt::format("{} scope {}", subject, scopes));
}

Result<int> Issue(const TokenFlags& flags) {
  ASSIGN_OR_RETURN(const std::string subject, SubjectOf(flags));
  ASSIGN_OR_RETURN(const std::string scopes, ScopesOf(flags.scopes));
  const std::string usual = flags.api_key ? "" : kDefaultLifetime;
  const std::string& lifetime = flags.lifetime.empty() ? usual : flags.lifetime;
  int64_t seconds = 0;
  if (!lifetime.empty()) {
    ASSIGN_OR_RETURN(seconds, ParseLifetime(lifetime));
  }
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  RETURN_IF_ERROR(PrepareAccount(*state.db, flags, subject, scopes));
  const int64_t now = UnixSeconds();
  const int64_t expires = seconds == 0 ? 0 : now + seconds;
  const TokenGrant grant{.subject = subject, .client = flags.client, .scopes = scopes};
  std::string text, id;
  if (flags.api_key) {
    ASSIGN_OR_RETURN(text, state.issuer->IssueApiKey(grant, now, expires));
    OpaqueToken key;
    if (ParseOpaqueToken(text, kApiKeyPrefix, key)) id = key.id;
  } else {
    ASSIGN_OR_RETURN(IssuedTokens tokens, state.issuer->Issue(grant, now, seconds));
    text = std::move(tokens.access);
    id = std::move(tokens.id);
  }
  RETURN_IF_ERROR(AuditCommand(*state.db, flags.api_key ? "api_key_issued" : "token_issued",
                               fmt::format("{} scope {} id {}", subject, scopes, id)));
  if (flags.json) {
    RETURN_IF_ERROR(Print(
        JsonText({{"token", text}, {"id", id}, {"scope", scopes}, {"expires", TimeText(expires)}}) + "\n"));
  } else {
    RETURN_IF_ERROR(Print(text + "\n"));
  }
  Wipe(text);
  return kExitOk;
}

Result<int> Revoke(const TokenFlags& flags) {
  const int64_t now = UnixSeconds();
  std::string what = flags.id;
  if (flags.id.empty()) {
    ASSIGN_OR_RETURN(what, SubjectOf(flags));
  } else if (!flags.client.empty() || !flags.user.empty()) {
    return InvalidArgument("name a token's ID, or --client, or --user, not two of them");
  }
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  ASSIGN_OR_RETURN(const int64_t revoked,
                   flags.id.empty() ? state.db->RevokeSubject(what, now) : state.db->RevokeToken(what, now));
  if (revoked == 0 && !flags.id.empty())
    return NotFound("there is no token '{}' that could be revoked; 'hadal token list' shows them",
                    what.substr(0, 64));
  RETURN_IF_ERROR(AuditCommand(*state.db, "token_revoked", fmt::format("{}: {}", what, revoked)));
  PrintNote(fmt::format("{} revoked", revoked));
  return kExitOk;
}

Result<int> ListAll(const TokenFlags& flags) {
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  ASSIGN_OR_RETURN(const std::vector<TokenRecord> tokens, state.db->ListTokens());
  const int64_t now = UnixSeconds();
  std::vector<std::vector<std::string>> rows;
  for (const TokenRecord& token : tokens) {
    const bool expired = token.expires != 0 && token.expires <= now;
    if (!flags.all && (expired || token.revoked != 0)) continue;
    rows.push_back({token.id, TokenKindName(token.kind), token.subject, token.client, token.scopes,
                    TimeText(token.issued), TimeText(token.expires),
                    token.revoked != 0 ? "revoked"
                    : expired          ? "expired"
                                       : "valid"});
  }
  RETURN_IF_ERROR(PrintTable({"id", "kind", "subject", "client", "scopes", "issued", "expires", "state"},
                             rows, flags.json));
  return kExitOk;
}

Result<int> ShowAudit(const TokenFlags& flags) {
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  ASSIGN_OR_RETURN(const std::vector<AuditRecord> records, state.db->ListAudit(flags.last, flags.event));
  std::vector<std::vector<std::string>> rows;
  for (const AuditRecord& record : records)
    rows.push_back({TimeText(record.time), record.event, record.actor, record.peer, record.detail});
  RETURN_IF_ERROR(PrintTable({"time", "event", "actor", "peer", "detail"}, rows, flags.json));
  return kExitOk;
}

Result<int> Rotate(const TokenFlags& flags) {
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const JwsAlgorithm algorithm = flags.algorithm == "EdDSA" ? JwsAlgorithm::kEdDsa : JwsAlgorithm::kEs256;
  RETURN_IF_ERROR(state.keys->Rotate(algorithm));
  // A key may go when it has not signed for as long as the longest-lived token that is still good.
  ASSIGN_OR_RETURN(const std::vector<TokenRecord> tokens, state.db->ListTokens());
  int64_t longest = state.issuer->options().access_seconds;
  for (const TokenRecord& token : tokens) {
    if (token.kind == TokenKind::kAccess && token.expires > UnixSeconds())
      longest = std::max(longest, token.expires - token.issued);
  }
  ASSIGN_OR_RETURN(const int pruned, state.keys->Prune(longest));
  RETURN_IF_ERROR(
      AuditCommand(*state.db, "key_rotated", fmt::format("{}, {} removed", flags.algorithm, pruned)));
  PrintNote(fmt::format("a new {} key signs from now on; the older ones verify until their tokens have ended",
                        flags.algorithm));
  return kExitOk;
}

}  // namespace

void AddToken(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<TokenFlags>();
  CLI::App* verb = app.add_subcommand("token", "Issue, list and revoke tokens and API keys");
  verb->require_subcommand(1)->footer(kAbout);
  const auto add = [&](const char* name, const char* text, Result<int> (*run)(const TokenFlags&)) {
    CLI::App* sub = verb->add_subcommand(name, text);
    AddStateFlag(*sub, flags->state);
    sub->callback([flags, &action, run] { action = [flags, run] { return run(*flags); }; });
    return sub;
  };
  CLI::App* issue = add("issue", "Print a new token (or API key), alone on standard output", Issue);
  CLI::App* revoke = add("revoke", "End a token or key, or all of a client's or user's", Revoke);
  for (CLI::App* sub : {issue, revoke}) {
    sub->add_option("--client", flags->client, "Name of a client")->type_name("NAME");
    sub->add_option("--user", flags->user, "Name of a user")->type_name("NAME");
  }
  AddScopeFlag(*issue, flags->scopes, "Its scopes: infer, metrics, admin");
  issue->add_option("--lifetime", flags->lifetime, "Such as 15m, 8h, 30d; default 8h, API keys: no end")
      ->type_name("TIME");
  issue->add_flag("--api-key", flags->api_key, "An API key, for programs that cannot do OAuth");
  issue->add_flag("--json", flags->json, "Print a JSON object with the token, its ID and its end");
  revoke->add_option("ID", flags->id, "As 'hadal token list' shows it");
  CLI::App* list = add("list", "List the tokens and keys that are valid", ListAll);
  list->add_flag("--all", flags->all, "Expired and revoked ones too");
  list->add_flag("--json", flags->json, "Print a JSON array");
  CLI::App* audit = add("audit", "Who did what: logins, tokens, accounts, keys, refusals; oldest first", ShowAudit);
  AddNumber(*audit, "--last", flags->last, 1, 1'000'000, "How many of the newest records");
  audit->add_option("--event", flags->event, "Only these, such as denied, login_refused, token_issued")->type_name("NAME");
  audit->add_flag("--json", flags->json, "Print a JSON array");
  CLI::App* rotate = add("rotate", "Sign with a new key from now on", Rotate);
  AddChoice(*rotate, "--algorithm", flags->algorithm, {"ES256", "EdDSA"}, "What the key signs with");
}

}  // namespace hadal
