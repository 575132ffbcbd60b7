#include "train/checkpoint/adapter_folder.h"

#include <algorithm>

#include "model/lora.h"
#include "model/new_folder.h"
#include "model/safetensors_writer.h"
#include "train/checkpoint/checkpoint_reader.h"

namespace hadal::train {
namespace {

/// One factor's name in the checkpoint, and its shape.
struct Factor {
  std::string name;
  int64_t rows, cols;
  std::string FileName() const { return std::string(kLoraPrefix) + name; }
};

std::vector<Factor> FactorsOf(const std::vector<TensorSpec>& targets, int64_t rank) {
  std::vector<Factor> factors;
  for (const TensorSpec& w : targets) {
    factors.push_back({LoraFactorName(w.name, 'A'), rank, w.shape[1]});
    factors.push_back({LoraFactorName(w.name, 'B'), w.shape[0], rank});
  }
  return factors;
}

/// The last parts of the targets' names: what other libraries look for in a model.
std::vector<std::string> Tails(const std::vector<TensorSpec>& targets) {
  std::vector<std::string> tails;
  for (const TensorSpec& w : targets) {
    const std::string linear = w.name.substr(0, w.name.rfind('.'));
    const std::string tail = linear.substr(linear.rfind('.') + 1);
    if (std::ranges::find(tails, tail) == tails.end()) tails.push_back(tail);
  }
  return tails;
}

Status WriteFactors(const CheckpointReader& reader, const std::vector<Factor>& factors, const std::string& base,
                    const Path& file) {
  std::vector<TensorDeclaration> declarations;
  for (const Factor& f : factors) declarations.push_back({f.FileName(), DType::kF32, {f.rows, f.cols}});
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  if (!base.empty()) metadata[kLoraBaseKey] = base;
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(file, std::move(declarations), metadata));
  std::vector<float> values;
  for (const Factor& f : factors) {
    values.resize(static_cast<size_t>(f.rows * f.cols));
    RETURN_IF_ERROR(reader.ReadRows(StateKind::kValue, f.name, f.cols, 0, f.rows, values.data()));
    RETURN_IF_ERROR(writer.Write(f.FileName(), std::as_bytes(std::span(values))));
  }
  return writer.Finish();
}

/// "attention" and "all" become the names they mean; names stay as they were given.
std::vector<std::string> TargetModules(const LoraOptions& lora, const std::vector<TensorSpec>& targets) {
  if (lora.targets == "attention" || lora.targets == "all") return Tails(targets);
  std::vector<std::string> given;
  for (size_t from = 0; from <= lora.targets.size();) {
    const size_t end = std::min(lora.targets.find(',', from), lora.targets.size());
    given.push_back(lora.targets.substr(from, end - from));
    from = end + 1;
  }
  return given;
}

}  // namespace

Status ExportAdapter(const Path& checkpoint, const LoraOptions& lora, const Path& source, const Path& out) {
  ASSIGN_OR_RETURN(const CheckpointReader reader, CheckpointReader::Open(checkpoint, true));
  if (reader.manifest().lora != lora.Text())
    return InvalidArgument("{} holds adapters of '{}', expected '{}'", checkpoint.string(), reader.manifest().lora,
                           lora.Text());
  ASSIGN_OR_RETURN(const ModelConfig config,
                   ParseConfig(reader.manifest().config, "the checkpoint's config.json"));
  ASSIGN_OR_RETURN(const std::vector<TensorSpec> targets, LoraTargets(config, lora));
  ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(out));
  const LoraDescription description{.rank = lora.rank, .alpha = lora.alpha, .targets = TargetModules(lora, targets),
                                    .base_model = source.string()};
  RETURN_IF_ERROR(WriteFileAtomic(folder.temporary() / kLoraConfigName, LoraConfigJson(description)));
  RETURN_IF_ERROR(WriteFactors(reader, FactorsOf(targets, lora.rank), lora.base, folder.temporary() / kLoraWeightsName));
  return folder.Commit();
}

Result<std::string> FolderFingerprint(const Path& dir) {
  ASSIGN_OR_RETURN(const ModelConfig config, LoadConfig(dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(dir));
  return ModelFingerprint(*checkpoint, config);
}

}  // namespace hadal::train
