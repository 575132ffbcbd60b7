// hadal user: people who may log in with a password.
#include <memory>

#include "cli/access_flags.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "server/auth_types.h"
#include "server/passwords.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(Users ask for tokens at /token with their password (OAuth2, grant_type=password). A password
is typed, or comes from a file or standard input; it is never an argument.

Example:
  hadal user add ann --scope infer
  hadal user add ci --scope infer,metrics --password-file - < secret
  hadal user list --json
  hadal user passwd ann           a new password, asked for in the terminal
  hadal user disable ann          her tokens end at once
  hadal user enable ann           she may log in again)";

struct UserFlags {
  std::string state, name, password_file;
  std::vector<std::string> scopes{std::string(kScopeInfer)};
  bool json = false;
};

Result<std::string> NewHash(const UserFlags& flags) {
  ASSIGN_OR_RETURN(const Secret password, ReadNewPassword(flags.password_file));
  return HashPassword(password);
}

Result<int> AddOne(const UserFlags& flags) {
  RETURN_IF_ERROR(CheckAccountName(flags.name));
  ASSIGN_OR_RETURN(const std::string scopes, ScopesOf(flags.scopes));
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string subject = UserSubject(flags.name);
  if (state.db->FindAccount(subject))
    return FailedPrecondition("there is a user {} already; 'hadal user passwd {}' gives a new password",
                              flags.name, flags.name);
  ASSIGN_OR_RETURN(const std::string hash, NewHash(flags));
  RETURN_IF_ERROR(state.db->AddAccount({subject, hash, scopes, false, UnixSeconds()}));
  RETURN_IF_ERROR(AuditCommand(*state.db, "user_added", fmt::format("{} scope {}", subject, scopes)));
  PrintNote(fmt::format("user {} may ask for: {}", flags.name, scopes));
  return kExitOk;
}

Result<int> ChangePassword(const UserFlags& flags) {
  RETURN_IF_ERROR(CheckAccountName(flags.name));
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string subject = UserSubject(flags.name);
  RETURN_IF_ERROR(state.db->FindAccount(subject));
  ASSIGN_OR_RETURN(const std::string hash, NewHash(flags));
  RETURN_IF_ERROR(state.db->SetSecret(subject, hash, UnixSeconds()));
  RETURN_IF_ERROR(AuditCommand(*state.db, "password_changed", subject));
  PrintNote(fmt::format("user {} has a new password; tokens of the old one have ended", flags.name));
  return kExitOk;
}

Result<int> SetDisabled(const UserFlags& flags, bool disabled) {
  RETURN_IF_ERROR(CheckAccountName(flags.name));
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string subject = UserSubject(flags.name);
  RETURN_IF_ERROR(state.db->SetDisabled(subject, disabled, UnixSeconds()));
  RETURN_IF_ERROR(AuditCommand(*state.db, disabled ? "user_disabled" : "user_enabled", subject));
  PrintNote(fmt::format("user {} is {}", flags.name, disabled ? "disabled" : "enabled"));
  return kExitOk;
}

Result<int> ListAll(const UserFlags& flags) {
  ASSIGN_OR_RETURN(const AccessState state, OpenStateOf(flags.state));
  const std::string prefix = UserSubject("");
  ASSIGN_OR_RETURN(const std::vector<Account> accounts, state.db->ListAccounts(prefix));
  std::vector<std::vector<std::string>> rows;
  for (const Account& account : accounts) {
    rows.push_back({account.subject.substr(prefix.size()), account.scopes,
                    account.disabled ? "disabled" : "enabled", TimeText(account.created)});
  }
  RETURN_IF_ERROR(PrintTable({"name", "scopes", "state", "created"}, rows, flags.json));
  return kExitOk;
}

using Flags = std::shared_ptr<UserFlags>;

CLI::App* AddNamed(CLI::App& verb, const Flags& flags, const char* name, const char* text) {
  CLI::App* sub = verb.add_subcommand(name, text);
  AddStateFlag(*sub, flags->state);
  sub->add_option("NAME", flags->name, "The user's name")->required();
  return sub;
}

void AddPasswordFile(CLI::App& sub, const Flags& flags) {
  sub.add_option("--password-file", flags->password_file,
                 "Read the password from the first line of FILE; -: standard input")
      ->type_name("FILE");
}

}  // namespace

void AddUser(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<UserFlags>();
  CLI::App* verb = app.add_subcommand("user", "People who may log in");
  verb->require_subcommand(1)->footer(kAbout);
  CLI::App* add = AddNamed(*verb, flags, "add", "Add a user");
  AddScopeFlag(*add, flags->scopes, "What the user may ask for: infer, metrics, admin");
  AddPasswordFile(*add, flags);
  add->callback([flags, &action] { action = [flags] { return AddOne(*flags); }; });
  CLI::App* passwd =
      AddNamed(*verb, flags, "passwd", "Give a user a new password; tokens of the old one end");
  AddPasswordFile(*passwd, flags);
  passwd->callback([flags, &action] { action = [flags] { return ChangePassword(*flags); }; });
  AddNamed(*verb, flags, "disable", "Shut a user out; tokens end at once")->callback([flags, &action] {
    action = [flags] { return SetDisabled(*flags, true); };
  });
  AddNamed(*verb, flags, "enable", "Let a disabled user log in again")->callback([flags, &action] {
    action = [flags] { return SetDisabled(*flags, false); };
  });
  CLI::App* list = verb->add_subcommand("list", "List the users");
  AddStateFlag(*list, flags->state);
  list->add_flag("--json", flags->json, "Print a JSON array");
  list->callback([flags, &action] { action = [flags] { return ListAll(*flags); }; });
}

}  // namespace hadal
