#include "model/synth.h"

#include <nlohmann/json.hpp>

#include "model/config_writer.h"
#include "model/new_folder.h"
#include "model/random_normal.h"
#include "model/shapes.h"
#include "model/synth_tokenizer.h"
#include "model/synth_weights.h"
#include "model/tensor_encoder.h"

namespace hadal {
namespace {

/// The named shape, with the special tokens of the tokenizer that comes with it.
Result<ModelConfig> SynthConfig(const SynthOptions& options) {
  ASSIGN_OR_RETURN(const std::string json, ShapeConfigJson(options.shape, options.layers, options.weights));
  ASSIGN_OR_RETURN(ModelConfig config, ParseConfig(json, "config.json"));
  config.bos_token_id = kTinyBosId;
  config.eos_token_ids = {kTinyEosId};
  return config;
}

std::string GenerationConfigJson() {
  const nlohmann::ordered_json json = {{"bos_token_id", kTinyBosId},
                                       {"eos_token_id", kTinyEosId},
                                       {"do_sample", true},
                                       {"temperature", 0.6},
                                       {"top_p", 0.95}};
  return json.dump(2) + "\n";
}

/// What is in kRandomWeightsFile: the command that makes the same bytes.
std::string RandomWeightsText(const SynthOptions& options) {
  return fmt::format(
      "These weights are random. They were made by:\nhadal synth --shape {} --weights {} --seed {}{}\n",
      options.shape, options.weights, options.seed,
      options.layers ? fmt::format(" --layers {}", *options.layers) : "");
}

Status WriteWeights(const Path& dir, const ModelConfig& config, const SynthOptions& options,
                    ThreadPool& pool) {
  const std::vector<TensorSpec> specs = ExpectedTensors(config);
  std::vector<TensorEncoder> encoders;
  std::vector<TensorDeclaration> declarations;
  for (const TensorSpec& spec : specs) {
    const WeightFormat format = StoredFormat(spec.kind, config.quantization);
    ASSIGN_OR_RETURN(TensorEncoder encoder,
                     TensorEncoder::Create(spec.name, spec.shape, format, config.quantization.group_size));
    for (TensorDeclaration& part : encoder.Declarations()) declarations.push_back(std::move(part));
    encoders.push_back(std::move(encoder));
  }
  ASSIGN_OR_RETURN(TensorStream stream,
                   TensorStream::Create(dir, std::move(declarations), pool, options.progress));
  for (size_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    const auto [mean, deviation] = DistributionOf(spec, config);
    const uint64_t name = StreamOf(spec.copy_of.empty() ? spec.name : spec.copy_of);
    const int64_t cols = encoders[i].cols();
    RETURN_IF_ERROR(stream.Encode(encoders[i], [&](int64_t first, int64_t count, int, float* out) -> Status {
      FillNormal(options.seed, name, first * cols, count * cols, mean, deviation, out);
      return {};
    }));
  }
  return stream.Finish();
}

}  // namespace

Status Synthesize(const SynthOptions& options, ThreadPool& pool) {
  ASSIGN_OR_RETURN(const ModelConfig config, SynthConfig(options));
  ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(options.out));
  const Path& dir = folder.temporary();
  RETURN_IF_ERROR(WriteFileAtomic(dir / "config.json", ConfigJson(config)));
  RETURN_IF_ERROR(WriteFileAtomic(dir / "generation_config.json", GenerationConfigJson()));
  RETURN_IF_ERROR(WriteFileAtomic(dir / "tokenizer.json", SynthTokenizerJson(config.vocab_size)));
  RETURN_IF_ERROR(WriteFileAtomic(dir / "tokenizer_config.json", SynthTokenizerConfigJson(config)));
  RETURN_IF_ERROR(WriteFileAtomic(dir / kRandomWeightsFile, RandomWeightsText(options)));
  RETURN_IF_ERROR(WriteWeights(dir, config, options, pool));
  return folder.Commit();
}

}  // namespace hadal
