// hadal cert: the internal CA and its certificates.
#include <filesystem>
#include <memory>

#include "cli/access_flags.h"
#include "cli/flags.h"
#include "cli/json_lines.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "server/certificates.h"
#include "server/state_folder.h"

namespace hadal {
namespace {

constexpr const char* kAbout =
    R"(The CA is in the state folder (ca.crt, ca.key). 'hadal serve' makes one, and a certificate for
itself, where there is none. Clients trust the server through ca.crt:
  curl --cacert ~/.local/state/hadal/ca.crt https://localhost:8443/livez

Example:
  hadal cert init --name "our team's CA"
  hadal cert issue models.example --host models.example --host 10.0.0.7
  hadal cert issue robot --client --out robot      robot.crt and robot.key, to call the server with)";

struct CertFlags {
  std::string state, ca_name = "hadal internal CA", out;
  CertificateRequest request;
  int days = 3650;
  bool client = false, json = false;
};

Status PrintFiles(const CertFlags& flags, const Path& certificate, const Path& key) {
  ASSIGN_OR_RETURN(const CertificateInfo info, DescribeCertificate(certificate));
  if (flags.json) {
    return Print(JsonText({{"certificate", certificate.string()},
                           {"key", key.string()},
                           {"subject", info.subject},
                           {"not_after", info.not_after},
                           {"sha256", info.sha256}}) +
                 "\n");
  }
  return Print(
      fmt::format("certificate  {}\nkey          {}\nsubject      {}\nvalid until  {}\nsha256       {}\n",
                  certificate.string(), key.string(), info.subject, info.not_after, info.sha256));
}

/// Writes down what was made, with its fingerprint. Without its record neither file stays, as no token leaves
/// without one.
Status AuditFiles(StateDb& db, const std::string& event, const std::string& detail, const Path& certificate,
                  const Path& key) {
  const auto audited = [&]() -> Status {
    ASSIGN_OR_RETURN(const CertificateInfo info, DescribeCertificate(certificate));
    return AuditCommand(db, event, fmt::format("{}, sha256 {}", detail, info.sha256));
  }();
  if (audited) return {};
  std::error_code ignored;
  for (const Path& file : {key, certificate}) std::filesystem::remove(file, ignored);
  return audited;
}

Result<int> Init(const CertFlags& flags) {
  ASSIGN_OR_RETURN(const Path folder, StateFolderOf(flags.state));
  RETURN_IF_ERROR(OpenStateFolder(folder));
  ASSIGN_OR_RETURN(const std::unique_ptr<StateDb> db, StateDb::Open(folder));
  RETURN_IF_ERROR(InitCa(folder, flags.ca_name, flags.days));
  RETURN_IF_ERROR(AuditFiles(*db, "ca_made", fmt::format("{} for {} days", flags.ca_name, flags.days),
                             folder / "ca.crt", folder / "ca.key"));
  RETURN_IF_ERROR(PrintFiles(flags, folder / "ca.crt", folder / "ca.key"));
  return kExitOk;
}

Result<int> Issue(CertFlags& flags) {
  ASSIGN_OR_RETURN(const Path folder, StateFolderOf(flags.state));
  CertificateRequest request = flags.request;
  request.server = !flags.client;
  request.client = flags.client;
  if (request.hosts.empty() && request.server) request.hosts = {request.name};
  const std::string base = flags.out.empty() ? request.name : flags.out;
  if (flags.out.empty() && base.find('/') != std::string::npos)
    return InvalidArgument("the name has a slash in it; name the files with --out");
  const Path certificate = base + ".crt", key = base + ".key";
  RETURN_IF_ERROR(CheckOutputFile(certificate));
  RETURN_IF_ERROR(CheckOutputFile(key));
  if (!std::filesystem::exists(folder / "ca.crt"))
    return NotFound("there is no CA in {}; run 'hadal cert init' first", folder.string());
  ASSIGN_OR_RETURN(const std::unique_ptr<StateDb> db, StateDb::Open(folder));
  RETURN_IF_ERROR(IssueCertificate(folder, request, certificate, key));
  RETURN_IF_ERROR(AuditFiles(*db, "certificate_issued",
                             fmt::format("{} {} hosts {}", request.client ? "client" : "server", request.name,
                                         fmt::join(request.hosts, ",")),
                             certificate, key));
  RETURN_IF_ERROR(PrintFiles(flags, certificate, key));
  return kExitOk;
}

}  // namespace

void AddCert(CLI::App& app, Action& action) {
  const auto flags = std::make_shared<CertFlags>();
  CLI::App* verb = app.add_subcommand("cert", "The internal CA and its certificates");
  verb->require_subcommand(1)->footer(kAbout);
  CLI::App* init = verb->add_subcommand("init", "Make the CA");
  init->add_option("--name", flags->ca_name, "The CA's name in its certificate")
      ->type_name("NAME")
      ->capture_default_str();
  AddNumber(*init, "--days", flags->days, 1, 36500, "Days that it holds");
  init->callback([flags, &action] { action = [flags] { return Init(*flags); }; });
  CLI::App* issue = verb->add_subcommand("issue", "Make a key and sign its certificate");
  issue
      ->add_option("NAME", flags->request.name,
                   "Common name, such as models.example; without --host the host, too")
      ->required();
  issue
      ->add_option("--host", flags->request.hosts, "A DNS name or IP address that it is for; may be repeated")
      ->type_name("HOST")
      ->allow_extra_args(false);
  issue->add_flag("--client", flags->client, "For a client that proves itself by it (mTLS)");
  issue->add_option("--out", flags->out, "Write OUT.crt and OUT.key; default NAME, here")->type_name("OUT");
  AddNumber(*issue, "--days", flags->request.days, 1, 36500, "Days that it holds");
  issue->callback([flags, &action] { action = [flags] { return Issue(*flags); }; });
  for (CLI::App* sub : {init, issue}) {
    AddStateFlag(*sub, flags->state);
    sub->add_flag("--json", flags->json, "Print a JSON object: certificate, key, subject, not_after, sha256");
  }
}

}  // namespace hadal
