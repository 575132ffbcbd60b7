#include "model/convert.h"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <vector>

#include "model/config.h"
#include "model/config_writer.h"
#include "model/convert_plan.h"
#include "model/folder_files.h"
#include "model/new_folder.h"
#include "model/shapes.h"
#include "model/weight_reader.h"

namespace hadal {
namespace {

/// kInvalidArgument if `out` is `in` or inside it.
Status CheckApart(const ConvertOptions& options) {
  ASSIGN_OR_RETURN(const Path in, RealFolderPath(options.in));
  ASSIGN_OR_RETURN(const Path out, RealFolderPath(options.out));
  if (std::mismatch(in.begin(), in.end(), out.begin(), out.end()).first != in.end()) return {};
  return InvalidArgument(
      "the converted model would be written to {}, which is {} {}; choose a folder elsewhere",
      options.out.string(), in == out ? "the model itself," : "inside the model's folder",
      options.in.string());
}

Result<QuantizationConfig> TargetOf(const ConvertOptions& options) {
  ASSIGN_OR_RETURN(QuantizationConfig target, QuantizationOfFormat(options.weights));
  if (options.group != 32 && options.group != 64 && options.group != 128)
    return InvalidArgument("a group of {} values; expected 32, 64 or 128", options.group);
  if (target.method == QuantizationConfig::Method::kCompressedTensors) target.group_size = options.group;
  return target;
}

Result<std::string> NewConfigText(const Path& in, const QuantizationConfig& from,
                                  const QuantizationConfig& target) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(in / "config.json"));
  if (from == target || SameStorage(from, target)) return text;
  return ReplaceQuantization(text, target);
}

std::vector<TensorDeclaration> DeclarationsOf(const std::vector<ConvertStep>& steps) {
  std::vector<TensorDeclaration> declarations;
  for (const ConvertStep& step : steps)
    for (TensorDeclaration& part : step.Declarations()) declarations.push_back(std::move(part));
  return declarations;
}

/// Lets go of the source behind the work. A page fault maps many pages around the one that was touched, those
/// of neighbours that were released among them; so tensors are released by the batch, and once again with the
/// next one.
class SourceRelease {
 public:
  SourceRelease(const Checkpoint& checkpoint, const std::vector<ConvertStep>& steps)
      : checkpoint_(checkpoint), steps_(steps) {}

  /// Steps up to and with `step` are done.
  void Done(size_t step) {
    for (const TensorInfo* part : PartsOf(steps_[step])) batch_bytes_ += part ? part->bytes : 0;
    if (batch_bytes_ < kBatchBytes) return;
    for (size_t i = last_batch_; i <= step; ++i)
      for (const TensorInfo* part : PartsOf(steps_[i]))
        if (part) checkpoint_.Release(*part, 0, part->bytes);
    last_batch_ = batch_;
    batch_ = step + 1;
    batch_bytes_ = 0;
  }

 private:
  static constexpr uint64_t kBatchBytes = 64 << 20;
  static std::array<const TensorInfo*, 4> PartsOf(const ConvertStep& step) {
    return {step.copy, step.linear.values, step.linear.scales, step.linear.shape};
  }

  const Checkpoint& checkpoint_;
  const std::vector<ConvertStep>& steps_;
  size_t last_batch_ = 0, batch_ = 0;  // the steps at which they begin
  uint64_t batch_bytes_ = 0;
};

Status WriteStep(const Checkpoint& checkpoint, const LoraAdapter* adapter, const ConvertStep& step,
                 std::vector<WeightReader>& readers, TensorStream& stream) {
  if (step.copy) return stream.Copy(checkpoint, *step.copy);
  // Not while planning: a look at every tensor would map most of the file.
  if (step.linear.shape) RETURN_IF_ERROR(readers[0].CheckPackedShape(step.linear));
  LoraFactors factors;
  if (!step.adapted.empty()) {
    ASSIGN_OR_RETURN(factors, adapter->Read(step.adapted));
  }
  const int64_t in = step.linear.in;
  return stream.Encode(*step.encoder, [&](int64_t first, int64_t count, int worker, float* out) -> Status {
    RETURN_IF_ERROR(readers[static_cast<size_t>(worker)].Decode(step.linear, first, count, out));
    if (factors.rank > 0)
      AddLowRank<float>({factors.a.data(), factors.rank, in},
                        {factors.b.data() + first * factors.rank, count, factors.rank}, factors.scale, {out, count, in});
    return {};
  });
}

Status WriteTensors(const Checkpoint& checkpoint, const LoraAdapter* adapter, const std::vector<ConvertStep>& steps,
                    TensorStream& stream, ThreadPool& pool) {
  std::vector<WeightReader> readers(static_cast<size_t>(pool.threads()), WeightReader(checkpoint));
  SourceRelease release(checkpoint, steps);
  for (size_t i = 0; i < steps.size(); ++i) {
    RETURN_IF_ERROR(WriteStep(checkpoint, adapter, steps[i], readers, stream));
    release.Done(i);
  }
  RETURN_IF_ERROR(checkpoint.Verify());
  return stream.Finish();
}

}  // namespace

Status Convert(const ConvertOptions& options, ThreadPool& pool) {
  ASSIGN_OR_RETURN(const QuantizationConfig target, TargetOf(options));
  RETURN_IF_ERROR(CheckApart(options));
  ASSIGN_OR_RETURN(const ModelConfig config, LoadConfig(options.in));
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(options.in));
  ASSIGN_OR_RETURN(const std::string text, NewConfigText(options.in, config.quantization, target));
  std::optional<LoraAdapter> adapter;
  if (!options.adapter.empty()) {
    ASSIGN_OR_RETURN(adapter, LoraAdapter::Open(options.adapter));
    RETURN_IF_ERROR(adapter->CheckBase(*checkpoint, config));
  }
  const LoraAdapter* const added = adapter ? &*adapter : nullptr;
  ASSIGN_OR_RETURN(const std::vector<ConvertStep> steps, PlanConversion(*checkpoint, config, target, added));
  ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(options.out));
  const Path& dir = folder.temporary();
  RETURN_IF_ERROR(WriteFileAtomic(dir / "config.json", text));
  RETURN_IF_ERROR(CopyCompanionFiles(options.in, dir));
  ASSIGN_OR_RETURN(TensorStream stream,
                   TensorStream::Create(dir, DeclarationsOf(steps), pool, options.progress));
  RETURN_IF_ERROR(WriteTensors(*checkpoint, added, steps, stream, pool));
  return folder.Commit();
}

}  // namespace hadal
