#include "train/run_export.h"

#include "model/convert.h"
#include "train/checkpoint/adapter_folder.h"
#include "train/checkpoint/model_folder.h"

namespace hadal::train {
namespace {

Status SetAside(const Path& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder, error)) return {};
  Path aside;
  for (int n = 1; aside.empty() || std::filesystem::exists(aside, error); ++n)
    aside = folder.string() + fmt::format(".before-{}", n);
  std::filesystem::rename(folder, aside, error);
  if (error) return FailedPrecondition("cannot rename {} to {}: {}", folder.string(), aside.string(), error.message());
  return {};
}

/// The adapters by themselves, and the model with them added.
Status ExportAdapted(const RunExportOptions& o, const Path& adapter, const Path& model, ThreadPool& pool) {
  RETURN_IF_ERROR(SetAside(adapter));
  RETURN_IF_ERROR(ExportAdapter(o.checkpoint, o.lora, o.source, adapter));
  ConvertOptions merge;
  merge.in = o.source;
  merge.out = model;
  merge.weights = o.weights;
  merge.adapter = adapter;
  merge.progress = o.progress;
  return Convert(merge, pool);
}

}  // namespace

Result<RunExport> ExportRun(const RunExportOptions& o, ThreadPool& pool) {
  RunExport made{.model = o.out / "model", .adapter = {}};
  RETURN_IF_ERROR(SetAside(made.model));
  if (o.lora.on()) {
    made.adapter = o.out / "adapter";
    RETURN_IF_ERROR(ExportAdapted(o, made.adapter, made.model, pool));
  } else {
    const ExportOptions plain{.checkpoint = o.checkpoint, .source = o.source, .out = made.model, .weights = o.weights,
                              .progress = o.progress};
    RETURN_IF_ERROR(ExportModelFolder(plain, pool));
  }
  return made;
}

}  // namespace hadal::train
