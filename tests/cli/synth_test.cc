#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace hadal::e2e {
namespace {

class SynthVerb : public CliTest {};

TEST_F(SynthVerb, EveryFormatRunsAndConverts) {
  for (const char* format : {"bf16", "fp8", "int8", "int4"}) {
    SCOPED_TRACE(format);
    const std::string made = File(std::string("made-") + format),
                      converted = File(std::string("from-") + format);
    const Outcome synth = Hadal({"synth", "--shape", "v3-tiny", "--weights", format, "--layers", "2",
                                 "--seed", "7", "--out", made, "--json"});
    ASSERT_EQ(synth.code, 0) << synth.err;
    EXPECT_EQ(nlohmann::json::parse(synth.out)["out"], made);
    const Outcome convert =
        Hadal({"convert", "--model", made, "--weights", "int4", "--out", converted, "--json"});
    ASSERT_EQ(convert.code, 0) << convert.err;
    for (const std::string& model : {made, converted}) {
      const Outcome run =
          Hadal({"run", "--model", model, "--max-tokens", "4", "--ignore-eos", "--json", "hi"});
      ASSERT_EQ(run.code, 0) << run.err;
      EXPECT_THAT(run.err, testing::HasSubstr("random"));
      EXPECT_EQ(nlohmann::json::parse(run.out)["generated_tokens"], 4);
    }
  }
}

TEST_F(SynthVerb, SameSeedSameBytes) {
  ASSERT_EQ(Hadal({"synth", "--shape", "v3-tiny", "--seed", "3", "--out", File("a"), "--threads", "1"}).code,
            0);
  ASSERT_EQ(Hadal({"synth", "--shape", "v3-tiny", "--seed", "3", "--out", File("b")}).code, 0);
  ASSERT_EQ(Hadal({"synth", "--shape", "v3-tiny", "--seed", "4", "--out", File("c")}).code, 0);
  EXPECT_EQ(Contents("a/model.safetensors"), Contents("b/model.safetensors"));
  EXPECT_NE(Contents("a/model.safetensors"), Contents("c/model.safetensors"));
}

TEST_F(SynthVerb, RefusalsLeaveNothing) {
  ExpectFailure(Hadal({"synth", "--shape", "v3-tinny", "--out", File("x")}), "v3-tiny");
  ExpectFailure(Hadal({"synth", "--shape", "v3-tiny", "--weights", "int3", "--out", File("x")}), "int3");
  ExpectFailure(Hadal({"synth", "--shape", "v3-tiny", "--layers", "999", "--out", File("x")}), "layers");
  ExpectFailure(Hadal({"synth", "--shape", "v3-tiny", "--out", File("missing/x")}), "no folder");
  ExpectFailure(Hadal({"convert", "--model", Golden("v3-tiny-bf16"), "--weights", "int8", "--group", "48",
                       "--out", File("x")}),
                "48");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  const std::string model = Model();
  const std::string before = Contents("model/model.safetensors");
  ExpectFailure(Hadal({"synth", "--shape", "v3-tiny", "--seed", "9", "--out", model}), "not empty");
  EXPECT_EQ(Contents("model/model.safetensors"), before);
}

}  // namespace
}  // namespace hadal::e2e
