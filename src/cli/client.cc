// hadal client: programs that ask for tokens with a secret of their own, and their quotas.
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
    R"(Clients ask for tokens at /token with their secret (OAuth2, grant_type=client_credentials). The
secret is printed once, alone on standard output, and only its hash is kept. For programs that
cannot do OAuth, 'hadal token issue --api-key' makes a key instead.

Example:
  hadal client add robot --scope infer > robot.secret
  hadal client disable robot      its tokens and keys end at once
  hadal client enable robot
  hadal client quota robot --requests-per-minute 60 --tokens-per-day 1000000
  hadal client list --json)";

struct ClientFlags {
  std::string state, name;
  std::vector<std::string> scopes{std::string(kScopeInfer)};
  bool json = false, is_public = false, user = false;
  QuotaLimits limits;
};

Result<int> AddOne(const ClientFlags& flags) {
  RETURN_IF_ERROR(CheckAccountName(flags.name));
  ASSIGN_OR_RETURN(const std::string scopes, ScopesOf(flags.scopes));
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string subject = ClientSubject(flags.name);
  std::string secret = flags.is_public ? std::string() : RandomText(32);
  RETURN_IF_ERROR(state.db->AddAccount(
      {subject, secret.empty() ? std::string() : Sha256(secret), scopes, false, UnixSeconds()}));
  RETURN_IF_ERROR(AuditCommand(*state.db, "client_added", fmt::format("{} scope {}", subject, scopes)));
  PrintNote(fmt::format("client {} may ask for: {}{}", flags.name, scopes,
                        secret.empty() ? "" : "; its secret, which cannot be shown again:"));
  if (!secret.empty()) RETURN_IF_ERROR(Print(secret + "\n"));
  Wipe(secret);
  return kExitOk;
}

Result<int> SetDisabled(const ClientFlags& flags, bool disabled) {
  RETURN_IF_ERROR(CheckAccountName(flags.name));
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string subject = ClientSubject(flags.name);
  RETURN_IF_ERROR(state.db->SetDisabled(subject, disabled, UnixSeconds()));
  RETURN_IF_ERROR(AuditCommand(*state.db, disabled ? "client_disabled" : "client_enabled", subject));
  PrintNote(fmt::format("client {} is {}", flags.name, disabled ? "disabled" : "enabled"));
  return kExitOk;
}

Result<int> SetQuota(const ClientFlags& flags) {
  const bool all = flags.name == "*";
  if (!all) RETURN_IF_ERROR(CheckAccountName(flags.name));
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string subject = all ? "*" : flags.user ? UserSubject(flags.name) : ClientSubject(flags.name);
  if (!all) RETURN_IF_ERROR(state.db->FindAccount(subject));
  RETURN_IF_ERROR(state.db->SetQuota(subject, flags.limits));
  const QuotaLimits& limits = flags.limits;
  const std::string text = fmt::format(
      "{}: {} requests a minute, {} a day; {} tokens a minute, {} a day (0: no limit)", subject,
      limits.requests_per_minute, limits.requests_per_day, limits.tokens_per_minute, limits.tokens_per_day);
  RETURN_IF_ERROR(AuditCommand(*state.db, "quota_set", text));
  PrintNote(text);
  return kExitOk;
}

Result<int> ListAll(const ClientFlags& flags) {
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string prefix = ClientSubject("");
  ASSIGN_OR_RETURN(const std::vector<Account> accounts, state.db->ListAccounts(prefix));
  std::vector<std::vector<std::string>> rows;
  for (const Account& account : accounts) {
    rows.push_back({account.subject.substr(prefix.size()), account.scopes,
                    account.disabled ? "disabled" : "enabled", account.secret.empty() ? "no" : "yes",
                    TimeText(account.created)});
  }
  RETURN_IF_ERROR(PrintTable({"name", "scopes", "state", "secret", "created"}, rows, flags.json));
  return kExitOk;
}

using Flags = std::shared_ptr<ClientFlags>;

CLI::App* AddNamed(CLI::App& verb, const Flags& flags, const char* name, const char* text) {
  CLI::App* sub = verb.add_subcommand(name, text);
  AddStateFlag(*sub, flags->state);
  sub->add_option("NAME", flags->name, "The client's name")->required();
  return sub;
}

void AddQuotaVerb(CLI::App& verb, const Flags& flags, Action& action) {
  CLI::App* quota = AddNamed(verb, flags, "quota", "Limit a client (or a user, or all others: '*')");
  quota->add_flag("--user", flags->user, "NAME is a user");
  const auto limit = [quota](const char* name, int64_t& value, const char* text) {
    AddNumber(*quota, name, value, 0, 1e15, text);
  };
  limit("--requests-per-minute", flags->limits.requests_per_minute, "Requests in a minute; 0: no limit");
  limit("--requests-per-day", flags->limits.requests_per_day, "Requests in a day; 0: no limit");
  limit("--tokens-per-minute", flags->limits.tokens_per_minute,
        "Tokens of prompts and answers in a minute; 0: no limit");
  limit("--tokens-per-day", flags->limits.tokens_per_day,
        "Tokens of prompts and answers in a day; 0: no limit");
  quota->callback([flags, &action] { action = [flags] { return SetQuota(*flags); }; });
}

}  // namespace

void AddClient(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<ClientFlags>();
  CLI::App* verb = app.add_subcommand("client", "Programs that may ask for tokens, and quotas");
  verb->require_subcommand(1)->footer(kAbout);
  CLI::App* add = AddNamed(*verb, flags, "add", "Add a client; prints its secret, once");
  AddScopeFlag(*add, flags->scopes, "What the client may ask for: infer, metrics, admin");
  add->add_flag("--public", flags->is_public, "Without a secret: only users log in through it");
  add->callback([flags, &action] { action = [flags] { return AddOne(*flags); }; });
  AddNamed(*verb, flags, "disable", "Shut a client out; its tokens and keys end at once")
      ->callback([flags, &action] { action = [flags] { return SetDisabled(*flags, true); }; });
  AddNamed(*verb, flags, "enable", "Let a disabled client in again")->callback([flags, &action] {
    action = [flags] { return SetDisabled(*flags, false); };
  });
  AddQuotaVerb(*verb, flags, action);
  CLI::App* list = verb->add_subcommand("list", "List the clients");
  AddStateFlag(*list, flags->state);
  list->add_flag("--json", flags->json, "Print a JSON array");
  list->callback([flags, &action] { action = [flags] { return ListAll(*flags); }; });
}

}  // namespace hadal
