#include "train/checkpoint/model_folder.h"

#include <algorithm>

#include "model/config_writer.h"
#include "model/folder_files.h"
#include "model/new_folder.h"
#include "model/shapes.h"
#include "model/synth.h"
#include "model/tensor_encoder.h"
#include "model/weight_reader.h"

namespace hadal::train {
namespace {

constexpr std::string_view kWeightTail = ".weight";

/// Columns [col, col + cols) of `count` rows of a tensor from row `first`, through whole rows of floats.
class RowReader {
 public:
  RowReader(const Checkpoint& checkpoint, const QuantizationConfig& quantization)
      : checkpoint_(checkpoint), quantization_(quantization), reader_(checkpoint) {}

  template <typename T>
  Status Read(const Shard& s, View<T> out) {
    const bool plain = s.kind == TensorKind::kNorm || s.kind == TensorKind::kEmbedding;
    row_.resize(static_cast<size_t>(s.full_cols));
    const TensorInfo* tensor = nullptr;
    LinearSource linear;
    if (plain) {
      const std::vector<int64_t> shape =
          s.kind == TensorKind::kNorm ? std::vector{s.full_cols} : std::vector{s.full_rows, s.full_cols};
      ASSIGN_OR_RETURN(tensor, FindPlain(checkpoint_, s.name, shape));
    } else {
      const std::string_view base = std::string_view(s.name).substr(0, s.name.size() - kWeightTail.size());
      ASSIGN_OR_RETURN(linear, FindLinear(checkpoint_, quantization_, base, s.full_rows, s.full_cols));
    }
    for (int64_t r = 0; r < s.rows; ++r) {
      if (plain)
        RETURN_IF_ERROR(reader_.ReadFloats(*tensor, (s.row + r) * s.full_cols, s.full_cols, row_.data()));
      else
        RETURN_IF_ERROR(reader_.Decode(linear, s.row + r, 1, row_.data()));
      for (int64_t c = 0; c < s.cols; ++c) out.at(r, c) = static_cast<T>(row_[static_cast<size_t>(s.col + c)]);
    }
    return {};
  }

  template <typename T>
  Status ReadBias(const std::string& name, std::vector<T>& out) {
    const std::vector<int64_t> shape{static_cast<int64_t>(out.size())};
    ASSIGN_OR_RETURN(const TensorInfo* tensor, FindPlain(checkpoint_, name, shape));
    row_.resize(out.size());
    RETURN_IF_ERROR(reader_.ReadFloats(*tensor, 0, shape[0], row_.data()));
    std::copy(row_.begin(), row_.end(), out.begin());
    return {};
  }

 private:
  const Checkpoint& checkpoint_;
  const QuantizationConfig& quantization_;
  WeightReader reader_;
  std::vector<float> row_;
};

Status WriteWeights(const CheckpointReader& reader, const ModelConfig& config, const Path& dir, ThreadPool& pool,
                    const WriteProgress& progress) {
  const std::vector<TensorSpec> specs = ExpectedTensors(config);
  std::vector<TensorEncoder> encoders;
  std::vector<TensorDeclaration> declarations;
  for (const TensorSpec& spec : specs) {
    ASSIGN_OR_RETURN(TensorEncoder encoder,
                     TensorEncoder::Create(spec.name, spec.shape, StoredFormat(spec.kind, config.quantization),
                                           config.quantization.group_size));
    for (TensorDeclaration& part : encoder.Declarations()) declarations.push_back(std::move(part));
    encoders.push_back(std::move(encoder));
  }
  ASSIGN_OR_RETURN(TensorStream stream, TensorStream::Create(dir, std::move(declarations), pool, progress));
  for (size_t i = 0; i < specs.size(); ++i) {
    const std::string& name = specs[i].copy_of.empty() ? specs[i].name : specs[i].copy_of;
    const StateKind kind = specs[i].kind == TensorKind::kRouterBias ? StateKind::kBias : StateKind::kValue;
    RETURN_IF_ERROR(stream.Encode(encoders[i], [&](int64_t first, int64_t count, int, float* out) {
      return reader.ReadRows(kind, name, encoders[i].cols(), first, count, out);
    }));
  }
  return stream.Finish();
}

}  // namespace

template <typename T>
Status LoadModelFolder(const Path& dir, Trainer<T>& trainer) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadConfig(dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(dir));
  RowReader reader(*checkpoint, config.quantization);
  ParameterSet<T>& params = trainer.params();
  for (size_t i = 0; i < params.shards().size(); ++i)
    RETURN_IF_ERROR(reader.Read<T>(params.shards()[i], params.parameter(i).value));
  for (auto& bias : params.biases())
    RETURN_IF_ERROR(reader.ReadBias(fmt::format("{}mlp.gate.e_score_correction_bias", LayerPrefix(bias.layer)), bias.values));
  trainer.StartFromParameters();
  return checkpoint->Verify();
}

Status ExportModelFolder(const ExportOptions& options, ThreadPool& pool) {
  ASSIGN_OR_RETURN(const CheckpointReader reader, CheckpointReader::Open(options.checkpoint, true));
  ASSIGN_OR_RETURN(ModelConfig config, ParseConfig(reader.manifest().config, "the checkpoint's config.json"));
  ASSIGN_OR_RETURN(config.quantization, QuantizationOfFormat(options.weights));
  ASSIGN_OR_RETURN(const std::string source, ReadFile(options.source / "config.json"));
  ASSIGN_OR_RETURN(const std::string text, ReplaceQuantization(source, config.quantization));
  ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(options.out));
  RETURN_IF_ERROR(WriteFileAtomic(folder.temporary() / "config.json", text));
  RETURN_IF_ERROR(CopyCompanionFiles(options.source, folder.temporary()));
  std::error_code error;
  std::filesystem::remove(folder.temporary() / kRandomWeightsFile, error);  // they no longer are
  RETURN_IF_ERROR(WriteWeights(reader, config, folder.temporary(), pool, options.progress));
  return folder.Commit();
}

template Status LoadModelFolder<float>(const Path&, Trainer<float>&);
template Status LoadModelFolder<double>(const Path&, Trainer<double>&);

}  // namespace hadal::train
