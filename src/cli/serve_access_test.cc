#include "cli/serve_access.h"

#include <gtest/gtest.h>

namespace hadal {
namespace {

TEST(ServeAccess, ReadsAnIssuer) {
  const auto issuer = ParseIssuer(
      R"(issuer=https://idp.test/a\,b,audience=hadal,jwks=/etc/keys=1.json,scopes=infer metrics,)"
      R"(scopes_claim=realm_access.roles,scope_names=llm:user:infer ops:metrics,plain_type=true,ca=/ca.pem)");
  ASSERT_TRUE(issuer) << issuer.error().message;
  EXPECT_EQ(issuer->issuer, "https://idp.test/a,b");
  EXPECT_EQ(issuer->audience, "hadal");
  EXPECT_EQ(issuer->jwks, "/etc/keys=1.json");
  EXPECT_EQ(issuer->scopes, (std::vector<std::string>{"infer", "metrics"}));
  EXPECT_EQ(issuer->scopes_claim, "realm_access.roles");
  EXPECT_EQ(issuer->scope_names,
            (std::map<std::string, std::string>{{"llm:user", "infer"}, {"ops", "metrics"}}));
  EXPECT_TRUE(issuer->plain_type);
  EXPECT_EQ(issuer->ca_file, "/ca.pem");

  const auto least = ParseIssuer("issuer=https://idp.test,audience=hadal");
  ASSERT_TRUE(least);
  EXPECT_EQ(least->scopes, std::vector<std::string>{"infer"}) << "an issuer gives no more unless it is said";
  EXPECT_FALSE(least->plain_type);
}

TEST(ServeAccess, RefusesWhatIsNoIssuer) {
  for (const char* text :
       {"", "https://idp.test", "issuer=https://idp.test", "audience=hadal",
        "issuer=https://idp.test,audience=hadal,", "issuer=https://idp.test,audience=a,audience=b",
        "issuer=https://idp.test,audience=a,nonsense=1", "issuer=https://idp.test,audience=a,scopes=root",
        "issuer=https://idp.test,audience=a,plain_type=yes",
        "issuer=https://idp.test,audience=a,scope_names=user",
        "issuer=https://idp.test,audience=a,scope_names=a:root"})
    EXPECT_FALSE(ParseIssuer(text)) << text;
}

TEST(ServeAccess, FlagsThatDoNotGoTogetherAreRefused) {
  const auto refused = [](auto change) {
    ServeAccessFlags flags;
    ServiceOptions options;
    change(flags, options);
    return !ApplyServeAccess(flags, options);
  };
  EXPECT_FALSE(refused([](ServeAccessFlags&, ServiceOptions&) {}));
  EXPECT_TRUE(refused([](ServeAccessFlags& flags, ServiceOptions&) { flags.certificate = "a.crt"; }));
  EXPECT_TRUE(refused([](ServeAccessFlags& flags, ServiceOptions&) { flags.key = "a.key"; }));
  EXPECT_TRUE(refused([](ServeAccessFlags& flags, ServiceOptions&) { flags.lifetime = "long"; }));
  EXPECT_TRUE(refused([](ServeAccessFlags& flags, ServiceOptions& options) {
    flags.client_ca = "ca.crt";
    options.server.plain = true;
  }));
}

TEST(ServeAccess, ClientCertificatesAreRequiredUnlessOptional) {
  ServeAccessFlags flags;
  flags.client_ca = "ca.crt";
  ServiceOptions options;
  ASSERT_TRUE(ApplyServeAccess(flags, options));
  EXPECT_EQ(options.server.tls.client_certificates, ClientCertificates::kRequired);
  flags.client_certificates = "optional";
  ASSERT_TRUE(ApplyServeAccess(flags, options));
  EXPECT_EQ(options.server.tls.client_certificates, ClientCertificates::kOptional);
  EXPECT_EQ(options.certificate_seconds, kServerCertificateSeconds);
}

}  // namespace
}  // namespace hadal
