#include "model/config.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "model/config_test_data.h"

namespace hadal {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

/// `text` with the first `from` replaced; the test fails if there is none.
std::string With(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "no " << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}
std::string V3With(std::string_view from, std::string_view to) { return With(kDeepseekV3Json, from, to); }
/// V3 with another key at its end.
std::string V3And(std::string_view more) {
  return V3With("\"vocab_size\": 129280", fmt::format("\"vocab_size\": 129280, {}", more));
}

ModelConfig Parsed(std::string_view json) {
  const auto config = ParseConfig(json, "config.json");
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(ModelConfig());
}
std::string Refused(std::string_view json, Code code = Code::kInvalidArgument) {
  const auto config = ParseConfig(json, "config.json");
  EXPECT_FALSE(config) << "accepted";
  if (config) return "accepted";
  EXPECT_STREQ(CodeName(config.error().code), CodeName(code)) << config.error().message;
  return config.error().message;
}

TEST(Config, PublishedModelsLoad) {
  const ModelConfig v3 = Parsed(kDeepseekV3Json);
  EXPECT_EQ(v3.architecture, Architecture::kDeepseekV3);
  EXPECT_EQ(v3.hidden_size, 7168);
  EXPECT_EQ(v3.q_lora_rank, 1536);
  EXPECT_EQ(v3.latent_dim(), 576);
  EXPECT_EQ(v3.topk_group, 4);
  EXPECT_EQ(v3.eos_token_ids, std::vector<int64_t>{1});
  EXPECT_EQ(v3.quantization.method, QuantizationConfig::Method::kFp8);
  EXPECT_FALSE(v3.quantization.ue8m0_scales);
  EXPECT_FALSE(v3.IsMoeLayer(2));
  EXPECT_TRUE(v3.IsMoeLayer(3));

  const ModelConfig k2 = Parsed(kKimiK2Json);
  EXPECT_EQ(k2.architecture, Architecture::kDeepseekV3);
  EXPECT_EQ(k2.n_routed_experts, 384);
  EXPECT_EQ(k2.rope.beta_fast, 1);

  const ModelConfig moonlight = Parsed(kMoonlightJson);
  EXPECT_EQ(moonlight.q_lora_rank, 0);
  EXPECT_FALSE(moonlight.rope.yarn);
  EXPECT_EQ(moonlight.rms_norm_eps, 1e-5);

  const ModelConfig v2 = Parsed(kDeepseekV2Json);
  EXPECT_EQ(v2.architecture, Architecture::kDeepseekV2);
  EXPECT_EQ(v2.topk_method, TopkMethod::kGroupLimitedGreedy);
  EXPECT_EQ(v2.n_group, 8);
  EXPECT_EQ(v2.routed_scaling_factor, 16);

  const ModelConfig lite = Parsed(kDeepseekV2LiteJson);
  EXPECT_EQ(lite.topk_method, TopkMethod::kGreedy);
  EXPECT_EQ(lite.scoring_func, Scoring::kSoftmax);
  EXPECT_FALSE(lite.norm_topk_prob);
}

TEST(Config, PublishedModelsGiveNoWarning) {
  for (const char* json :
       {kDeepseekV3Json, kKimiK2Json, kMoonlightJson, kDeepseekV2Json, kDeepseekV2LiteJson})
    EXPECT_THAT(ConfigWarnings(Parsed(json)), IsEmpty());
}

TEST(Config, SoftmaxScaleOfPublishedModels) {
  EXPECT_NEAR(Parsed(kDeepseekV3Json).SoftmaxScale(), 0.13523378, 5e-9);
  EXPECT_NEAR(Parsed(kDeepseekV2LiteJson).SoftmaxScale(), 0.11472139, 5e-9);
  EXPECT_NEAR(Parsed(kKimiK2Json).SoftmaxScale(), 0.13086080, 5e-9);
  EXPECT_NEAR(Parsed(kMoonlightJson).SoftmaxScale(), 0.07216878, 5e-9);
}

TEST(Config, V31HasPowerOfTwoScales) {
  const ModelConfig v31 = Parsed(V3With("\"fmt\": \"e4m3\"", "\"fmt\": \"e4m3\", \"scale_fmt\": \"ue8m0\""));
  EXPECT_TRUE(v31.quantization.ue8m0_scales);
}

TEST(Config, KeysThatNewerLibrariesWrite) {
  const std::string newer = V3With(
      "\"rope_scaling\": {\"beta_fast\": 32, \"beta_slow\": 1, \"factor\": 40, \"mscale\": 1.0, "
      "\"mscale_all_dim\": 1.0,"
      "\n                   \"original_max_position_embeddings\": 4096, \"type\": \"yarn\"},\n  "
      "\"rope_theta\": 10000",
      "\"rope_parameters\": {\"beta_fast\": 32, \"beta_slow\": 1, \"factor\": 40, \"mscale\": 1.0, "
      "\"mscale_all_dim\": 1.0, \"original_max_position_embeddings\": 4096, \"rope_theta\": 10000, "
      "\"rope_type\": \"yarn\"}, \"rope_interleave\": true, \"head_dim\": 64, \"qk_head_dim\": 192, "
      "\"dtype\": \"bfloat16\", \"pad_token_id\": null, \"_name_or_path\": \"x\"");
  EXPECT_EQ(Parsed(newer), Parsed(kDeepseekV3Json));
  const ModelConfig plain =
      Parsed(With(kMoonlightJson, "\"rope_theta\": 50000.0",
                  "\"rope_parameters\": {\"rope_theta\": 50000.0, \"rope_type\": \"default\"}"));
  EXPECT_EQ(plain, Parsed(kMoonlightJson));
  EXPECT_THAT(Refused(V3And("\"rope_parameters\": {\"rope_type\": \"default\"}")),
              HasSubstr("both rope_scaling and rope_parameters"));
  EXPECT_EQ(Parsed(V3With("\"eos_token_id\": 1", "\"eos_token_id\": [1, 7]")).eos_token_ids,
            (std::vector<int64_t>{1, 7}));
}

TEST(Config, DefaultsAreThoseOfTheArchitecture) {
  std::string v2 = With(kDeepseekV2LiteJson, "\"scoring_func\": \"softmax\", ", "");
  v2 = With(With(v2, "\"topk_method\": \"greedy\", ", ""), "\"norm_topk_prob\": false, ", "");
  v2 = With(With(v2, "\"n_group\": 1, ", "\"n_group\": null, "), "\"routed_scaling_factor\": 1.0, ", "");
  EXPECT_EQ(Parsed(v2), Parsed(kDeepseekV2LiteJson));
  std::string v3 = V3With("\"scoring_func\": \"sigmoid\", ", "");
  v3 = With(With(v3, "\"topk_method\": \"noaux_tc\", ", ""), "\"norm_topk_prob\": true, ", "");
  EXPECT_EQ(Parsed(v3), Parsed(kDeepseekV3Json));
  const ModelConfig dense = Parsed(V3With("\"n_routed_experts\": 256", "\"n_routed_experts\": null"));
  EXPECT_EQ(dense.n_routed_experts, 0);
  EXPECT_FALSE(dense.IsMoeLayer(60));
}

TEST(Config, UnknownKeysNameTheNearest) {
  EXPECT_THAT(Refused(V3With("\"kv_lora_rank\"", "\"kv_lora_rnak\"")),
              AllOf(HasSubstr("'kv_lora_rnak'"), HasSubstr("'kv_lora_rank'"), HasSubstr("remove it")));
  EXPECT_THAT(Refused(V3With("\"beta_fast\"", "\"beta_fats\"")),
              AllOf(HasSubstr("rope_scaling"), HasSubstr("'beta_fast'")));
  EXPECT_THAT(Refused(V3With("\"fmt\"", "\"fmd\"")),
              AllOf(HasSubstr("quantization_config"), HasSubstr("'fmt'")));
}

TEST(Config, MissingKeysAreAllNamed) {
  EXPECT_THAT(Refused(With(V3With("\"hidden_size\": 7168, ", ""), "\"moe_intermediate_size\": 2048, ", "")),
              AllOf(HasSubstr("hidden_size"), HasSubstr("moe_intermediate_size")));
  EXPECT_THAT(Refused(V3With("\"n_group\": 8, ", "")), HasSubstr("no n_group"));
  EXPECT_THAT(Refused("{}"), HasSubstr("no model_type"));
}

TEST(Config, TheGuidesTemplateIsRefusedWithTheArithmetic) {
  EXPECT_THAT(Refused(kGuideTemplateJson),
              AllOf(HasSubstr("kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim"),
                    HasSubstr("moe_intermediate_size"), HasSubstr("not the DeepSeek-V3 architecture"),
                    HasSubstr("2.9 T parameters (109.5 B active), 5.8 TB in BF16")));
}

TEST(Config, GuideAliases) {
  std::string aliased =
      With(V3With("\"n_routed_experts\"", "\"num_experts\""), "\"num_experts_per_tok\"", "\"top_k_gate\"");
  ModelConfig want = Parsed(kDeepseekV3Json);
  EXPECT_EQ(Parsed(aliased), want);
  EXPECT_EQ(Parsed(V3And("\"num_experts\": 256")), want);
  EXPECT_THAT(Refused(V3And("\"num_experts\": 128")),
              AllOf(HasSubstr("n_routed_experts is 256"), HasSubstr("num_experts"), HasSubstr("128")));
  EXPECT_THAT(Refused(V3And("\"top_k_gate\": 2")), HasSubstr("top_k_gate"));
  const ModelConfig limited = Parsed(V3And("\"expert_capacity\": 64"));
  EXPECT_EQ(limited.expert_capacity, 64);
  ASSERT_EQ(ConfigWarnings(limited).size(), 1u);
  EXPECT_THAT(ConfigWarnings(limited)[0],
              HasSubstr("256 experts x 64 = 16384 places, 8 to a token, so a step of more than 2048"));
}

struct Refusal {
  const char* name;
  const char* from;
  const char* to;
  Code code;
  const char* says;
};

class V3Refusal : public testing::TestWithParam<Refusal> {};
TEST_P(V3Refusal, NamesWhatIsWrong) {
  EXPECT_THAT(Refused(V3With(GetParam().from, GetParam().to), GetParam().code), HasSubstr(GetParam().says));
}

constexpr Code kBad = Code::kInvalidArgument, kNot = Code::kUnsupported;
INSTANTIATE_TEST_SUITE_P(
    Config, V3Refusal,
    testing::Values(
        Refusal{"heads", "\"hidden_size\": 7168", "\"hidden_size\": 7169", kBad,
                "num_attention_heads 128 does not divide hidden_size 7169 (remainder 1)"},
        Refusal{"groups", "\"n_routed_experts\": 256", "\"n_routed_experts\": 250", kBad,
                "250 is no multiple of n_group 8 (remainder 2)"},
        Refusal{"topk_group", "\"topk_group\": 4", "\"topk_group\": 9", kBad,
                "topk_group 9 exceeds n_group 8"},
        Refusal{"top_k", "\"num_experts_per_tok\": 8", "\"num_experts_per_tok\": 129", kBad,
                "129 exceeds the 128 experts a token may choose from (4 groups of 32)"},
        Refusal{"pairs", "\"n_group\": 8", "\"n_group\": 256", kBad, "each needs at least 2"},
        Refusal{"odd_rope", "\"qk_rope_head_dim\": 64", "\"qk_rope_head_dim\": 63", kBad, "even"},
        Refusal{"zero", "\"hidden_size\": 7168", "\"hidden_size\": 0", kBad, "at least 1"},
        Refusal{"negative", "\"kv_lora_rank\": 512", "\"kv_lora_rank\": -512", kBad, "kv_lora_rank is -512"},
        Refusal{"huge", "\"hidden_size\": 7168", "\"hidden_size\": 1048577", kBad, "at most 1048576"},
        Refusal{"huge_layers", "\"num_hidden_layers\": 61", "\"num_hidden_layers\": 9223372036854775807",
                kBad, "at most 1024"},
        Refusal{"beyond_int64", "\"vocab_size\": 129280", "\"vocab_size\": 18446744073709551615", kBad,
                "at most"},
        Refusal{"many_experts", "\"n_routed_experts\": 256", "\"n_routed_experts\": 4097", kBad, "at most 4096"},
        Refusal{"dense", "\"first_k_dense_replace\": 3", "\"first_k_dense_replace\": 62", kBad,
                "exceeds num_hidden_layers 61"},
        Refusal{"decimal", "\"hidden_size\": 7168", "\"hidden_size\": 7168.0", kBad,
                "a decimal number, expected an integer"},
        Refusal{"text", "\"hidden_size\": 7168", "\"hidden_size\": \"7168\"", kBad,
                "a string, expected an integer"},
        Refusal{"nan", "1e-06", "NaN", kBad, "not valid JSON"},
        Refusal{"overflow", "1e-06", "1e999", kBad, "not valid JSON"},
        Refusal{"negative_eps", "1e-06", "-1e-06", kBad, "rms_norm_eps"},
        Refusal{"theta", "\"rope_theta\": 10000", "\"rope_theta\": 0", kBad, "rope_theta"},
        Refusal{"negative_scale", "\"routed_scaling_factor\": 2.5", "\"routed_scaling_factor\": -1", kBad,
                "routed_scaling_factor"},
        Refusal{"context", "163840", "4294967296", kBad, "max_position_embeddings"},
        Refusal{"eos", "\"eos_token_id\": 1", "\"eos_token_id\": 129280", kBad,
                "outside the vocabulary of 129280"},
        Refusal{"eos_text", "\"eos_token_id\": 1", "\"eos_token_id\": [\"</s>\"]", kBad, "integers only"},
        Refusal{"kv_heads", "\"num_key_value_heads\": 128", "\"num_key_value_heads\": 8", kBad,
                "num_key_value_heads is 8"},
        Refusal{"betas", "\"beta_fast\": 32", "\"beta_fast\": 0.5", kBad, "below beta_slow"},
        Refusal{"twice", "\"use_cache\": true", "\"use_cache\": true, \"hidden_size\": 7168", kBad,
                "'hidden_size' stands twice"},
        Refusal{"twice_inside", "\"factor\": 40", "\"factor\": 40, \"factor\": 4", kBad,
                "'factor' stands twice"},
        Refusal{"v32", "\"model_type\": \"deepseek_v3\"", "\"model_type\": \"deepseek_v32\"", kNot,
                "'deepseek_v32'"},
        Refusal{"activation", "\"silu\"", "\"gelu\"", kNot, "'gelu'"},
        Refusal{"bias", "\"attention_bias\": false", "\"attention_bias\": true", kNot, "attention_bias true"},
        Refusal{"linear", "\"type\": \"yarn\"", "\"type\": \"linear\"", kNot, "'linear'"},
        Refusal{"llama3", "\"type\": \"yarn\"", "\"rope_type\": \"llama3\", \"low_freq_factor\": 1", kNot,
                "'llama3'"},
        Refusal{"softmax", "\"sigmoid\"", "\"softmax\"", kNot, "scoring_func"},
        Refusal{"greedy", "\"noaux_tc\"", "\"greedy\"", kNot, "topk_method"},
        Refusal{"gptq", "\"quant_method\": \"fp8\"", "\"quant_method\": \"gptq\"", kNot, "'gptq'"},
        Refusal{"static", "\"dynamic\"", "\"static\"", kNot, "activation_scheme 'static'"},
        Refusal{"per_tensor", ",\n                          \"weight_block_size\": [128, 128]", "", kNot,
                "one scale per tensor"},
        Refusal{"block", "[128, 128]", "[128]", kBad, "expected [rows, columns]"},
        Refusal{"half_split", "\"use_cache\": true", "\"rope_interleave\": false", kNot, "rope_interleave"},
        Refusal{"window", "\"use_cache\": true", "\"sliding_window\": 4096", kNot, "sliding_window 4096"}),
    [](const auto& info) { return info.param.name; });

TEST(Config, SizesThatMultiplyTooFar) {
  std::string json = V3With("\"n_routed_experts\": 256", "\"n_routed_experts\": 4096");
  json = With(json, "\"moe_intermediate_size\": 2048", "\"moe_intermediate_size\": 1048576");
  EXPECT_THAT(Refused(json), HasSubstr("parameters, expected at most 1e+15"));
}

TEST(Config, DocumentsThatAreNoConfig) {
  EXPECT_THAT(Refused(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refused("[1]"), HasSubstr("a list, expected an object"));
  EXPECT_THAT(Refused("{\"model_type\": \"deepseek_v3\""), HasSubstr("not valid JSON"));
  std::string deep(100, '[');
  EXPECT_THAT(Refused("{\"a\":" + deep + std::string(100, ']') + "}"), HasSubstr("deeper than 16"));
  Refused(std::string((size_t{16} << 20) + 1, ' '), Code::kResourceExhausted);
  // Every truncation of a real file is refused, none crashes.
  const std::string_view whole = kDeepseekV3Json;
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(ParseConfig(whole.substr(0, length), "config.json")) << length;
}

std::string Packed(std::string_view from, std::string_view to) {
  const std::string quantization = from.empty() ? kPackedInt4Json : With(kPackedInt4Json, from, to);
  return With(kMoonlightJson, "\"vocab_size\": 163840",
              "\"vocab_size\": 163840, \"quantization_config\": " + quantization);
}

TEST(Config, CompressedTensors) {
  const QuantizationConfig int4 = Parsed(Packed("", "")).quantization;
  EXPECT_EQ(int4.method, QuantizationConfig::Method::kCompressedTensors);
  EXPECT_EQ(int4.bits, 4);
  EXPECT_EQ(int4.group_size, 32);
  const QuantizationConfig int8 =
      Parsed(With(Packed("\"num_bits\": 4", "\"num_bits\": 8"), "\"group_size\": 32", "\"group_size\": 128"))
          .quantization;
  EXPECT_EQ(int8.bits, 8);
  EXPECT_EQ(int8.group_size, 128);
  const Code no = Code::kUnsupported;
  EXPECT_THAT(Refused(Packed("\"symmetric\": true", "\"symmetric\": false"), no),
              HasSubstr("symmetric false"));
  EXPECT_THAT(Refused(Packed("\"actorder\": null", "\"actorder\": \"weight\""), no), HasSubstr("actorder"));
  EXPECT_THAT(Refused(Packed("\"pack-quantized\"", "\"int-quantized\""), no), HasSubstr("'int-quantized'"));
  EXPECT_THAT(Refused(Packed("\"num_bits\": 4", "\"num_bits\": 3"), no), HasSubstr("num_bits 3"));
  EXPECT_THAT(Refused(Packed("\"group_size\": 32", "\"group_size\": 16"), no), HasSubstr("group_size 16"));
  EXPECT_THAT(Refused(Packed("\"type\": \"int\"", "\"type\": \"float\""), no), HasSubstr("type 'float'"));
  EXPECT_THAT(Refused(Packed("\"strategy\": \"group\"", "\"strategy\": \"channel\""), no),
              HasSubstr("strategy 'channel'"));
  EXPECT_THAT(Refused(Packed("\"kv_cache_scheme\": null", "\"kv_cache_scheme\": {\"num_bits\": 8}"), no),
              HasSubstr("kv_cache_scheme"));
  EXPECT_THAT(Refused(Packed("\"input_activations\": null", "\"input_activations\": {\"num_bits\": 8}"), no),
              HasSubstr("input_activations"));
}

TEST(Config, ExpertsDivideOverRanks) {
  const ModelConfig v3 = Parsed(kDeepseekV3Json);
  EXPECT_TRUE(CheckExpertSplit(v3, 1));
  EXPECT_TRUE(CheckExpertSplit(v3, 64));
  const auto split = CheckExpertSplit(v3, 24);
  ASSERT_FALSE(split);
  EXPECT_THAT(split.error().message,
              HasSubstr("256 routed experts do not divide over 24 ranks: 10 each leaves 16 over"));
  EXPECT_FALSE(CheckExpertSplit(v3, 0));
}

TEST(Config, WarningsSayWhatIsOdd) {
  ModelConfig config = Parsed(kDeepseekV3Json);
  config.hidden_size = 7000;
  config.max_position_embeddings = 200000;
  const auto warnings = ConfigWarnings(config);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0], HasSubstr("7000 is no multiple of 512 (13 x 512 + 344)"));
  EXPECT_THAT(warnings[1], HasSubstr("40 x 4096 = 163840 positions"));
}

TEST(Config, FolderWithGenerationConfig) {
  const Path folder = testing::TempDir() + "hadal_config_test." + std::to_string(getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << kKimiK2Json;
  EXPECT_EQ(LoadConfig(folder)->eos_token_ids, std::vector<int64_t>{163585});
  std::ofstream(folder / "generation_config.json")
      << R"({"eos_token_id": [163585, 163586], "temperature": 0.6})";
  EXPECT_EQ(LoadConfig(folder)->eos_token_ids, (std::vector<int64_t>{163585, 163586}));
  std::ofstream(folder / "generation_config.json") << R"({"eos_token_id": 999999})";
  const auto outside = LoadConfig(folder);
  ASSERT_FALSE(outside);
  EXPECT_THAT(outside.error().message, AllOf(HasSubstr("generation_config.json"), HasSubstr("999999")));
  std::filesystem::remove_all(folder);
  EXPECT_FALSE(LoadConfig(folder));
}

}  // namespace
}  // namespace hadal
