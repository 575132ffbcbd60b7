#include "train/run.h"

#include <sys/resource.h>

#include <chrono>
#include <cmath>

#include "parallel/agree.h"
#include "train/checkpoint/adapter_folder.h"
#include "train/checkpoint/checkpoint_store.h"
#include "train/checkpoint/model_folder.h"
#include "train/cost.h"
#include "train/data/loader.h"
#include "train/memory_check.h"
#include "train/run_export.h"
#include "train/run_log.h"

namespace hadal::train {
namespace {

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

uint64_t PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

LoaderOptions LoaderOptionsOf(const RunOptions& o, const ProcessMesh& mesh) {
  const int64_t own = o.trainer.accumulation_steps;
  return {.sequence_length = o.trainer.sequence_length,
          .micro_batch_size = o.trainer.micro_batch_size,
          .micro_batches = own * mesh.shape().data,
          .first_micro_batch = own * mesh.replica(),
          .own_micro_batches = own,
          .seed = o.seed,
          .prefetch = o.prefetch};
}

/// One rank's run.
template <typename T>
class Run {
 public:
  Run(Communicator& world, const RunOptions& options, const RunListener& listener)
      : world_(world), options_(options), listener_(listener), pool_(options.threads),
        store_(options.out / "checkpoints", options.keep) {}

  Result<RunResult> Go() {
    RETURN_IF_ERROR(Prepare());
    const int64_t total = options_.trainer.rate.total_steps;
    while (trainer_->step() < total) {
      ASSIGN_OR_RETURN(result_.interrupted, ShouldStop());
      if (result_.interrupted) break;
      RETURN_IF_ERROR(Update(total));
      const int64_t step = trainer_->step();
      if (step < total && options_.evaluate_every > 0 && step % options_.evaluate_every == 0) RETURN_IF_ERROR(Evaluate());
      if (step < total && options_.save_every > 0 && step % options_.save_every == 0) RETURN_IF_ERROR(Save());
    }
    return End();
  }

 private:
  bool leads() const { return world_.rank() == 0; }
  void Note(const std::string& what) const {
    if (leads() && listener_.noted) listener_.noted(what);
  }

  Status Prepare() {
    ASSIGN_OR_RETURN(mesh_, ProcessMesh::Create(world_, options_.mesh));
    RETURN_IF_ERROR(CheckRunFolder());
    Status loaded;
    {
      // Rank 0 verifies all data, and ranks read different parts: how long each takes is its own affair.
      const LongWork work(world_, "loading");
      loaded = LoadAll();
    }
    RETURN_IF_ERROR(Agree(world_, loaded, "loaded"));
    RETURN_IF_ERROR(Restore());
    Status opened;
    if (leads()) {
      Result<RunLog> log = RunLog::Open(options_.out, trainer_->step());
      if (log) log_.emplace(*std::move(log));
      else opened = tl::unexpected(log.error());
    }
    return Agree(world_, opened, "log");
  }

  /// What this rank can do without the others: model, data and parameters to begin with.
  Status LoadAll() {
    ASSIGN_OR_RETURN(const ModelConfig config, LoadConfig(options_.model));
    ASSIGN_OR_RETURN(const TrainerOptions trainer, CompleteTrainerOptions());
    ASSIGN_OR_RETURN(result_.plan, Trainer<T>::Plan(config, *mesh_, options_.threads, options_.trainer));
    if (options_.available_bytes > 0)
      RETURN_IF_ERROR(CheckMemory<T>(config, *mesh_, options_.threads, options_.trainer, result_.plan,
                                     options_.available_bytes));
    ASSIGN_OR_RETURN(TokenDataset data, TokenDataset::Open(options_.data, leads()));
    data_ = std::make_unique<TokenDataset>(std::move(data));
    if (data_->index().vocab_size > config.vocab_size)
      return InvalidArgument("{} was made with a vocabulary of {}, the model has {}", options_.data.string(),
                             data_->index().vocab_size, config.vocab_size);
    if (!options_.held_out.empty()) {
      ASSIGN_OR_RETURN(TokenDataset held_out, TokenDataset::Open(options_.held_out, leads()));
      held_out_ = std::make_unique<TokenDataset>(std::move(held_out));
      if (held_out_->index().vocab_size > config.vocab_size)
        return InvalidArgument("{} was made with a vocabulary of {}, the model has {}", options_.held_out.string(),
                               held_out_->index().vocab_size, config.vocab_size);
    }
    if (listener_.planned) listener_.planned(result_.plan);
    ASSIGN_OR_RETURN(trainer_, Trainer<T>::Create(config, *mesh_, pool_, trainer));
    ASSIGN_OR_RETURN(loader_, DataLoader::Create(*data_, LoaderOptionsOf(options_, *mesh_)));
    // A checkpoint holds all that is trained; of adapters, nothing else.
    if (!newest_.empty() && !trainer_->lora()) return {};
    if (!options_.fresh) return LoadModelFolder(options_.model, *trainer_);
    trainer_->Initialize(options_.seed);
    return {};
  }

  Status CheckRunFolder() {
    if (const Result<Path> newest = store_.Newest()) newest_ = *newest;
    // All ranks have looked before one of them may write.
    RETURN_IF_ERROR(world_.Barrier("start"));
    std::error_code error;
    const Path model = std::filesystem::weakly_canonical(options_.model, error);
    for (const char* result : {"model", "adapter"})
      if (model == std::filesystem::weakly_canonical(options_.out / result, error))
        return InvalidArgument("{} is what this run would write; train into another run folder", options_.model.string());
    if (newest_.empty() || options_.resume) return {};
    return FailedPrecondition("{} holds a run already, at {}; go on with it (--resume), or choose another folder",
                              options_.out.string(), newest_.filename().string());
  }

  /// With what adapters depend on beside their own options.
  Result<TrainerOptions> CompleteTrainerOptions() const {
    TrainerOptions o = options_.trainer;
    if (!o.lora.on()) return o;
    if (options_.fresh)
      return InvalidArgument("adapters (lora_rank {}) need a trained model under them, and --fresh has none; leave one of "
                             "the two out", o.lora.rank);
    o.lora.seed = options_.seed;
    ASSIGN_OR_RETURN(o.lora.base, FolderFingerprint(options_.model));
    return o;
  }

  /// Numbers and place of the checkpoint that the run goes on from, if there is one.
  Status Restore() {
    if (newest_.empty()) return {};
    ASSIGN_OR_RETURN(const Manifest manifest, CheckpointStore::Load(newest_, *trainer_));
    ASSIGN_OR_RETURN(const DataCursor cursor, DataCursor::Parse(manifest.data_cursor));
    RETURN_IF_ERROR(loader_->Seek(cursor));
    saved_at_ = trainer_->step();
    Note(fmt::format("goes on from {}", newest_.string()));
    return {};
  }

  /// Whether any rank was asked to.
  Result<bool> ShouldStop() {
    int64_t asked = listener_.interrupted && listener_.interrupted();
    RETURN_IF_ERROR(world_.AllReduceSum(std::span(&asked, 1), "whether to stop"));
    return asked > 0;
  }

  Status Update(int64_t total) {
    const Clock::time_point start = Clock::now();
    const double waited_before = loader_->waited_seconds();
    const std::vector<MicroBatch> batches = loader_->Next();
    ASSIGN_OR_RETURN(const StepReport report, trainer_->Step(batches));
    result_.last = report;
    RunProgress p{.report = report, .total_steps = total};
    p.seconds = SecondsSince(start);
    p.waited_seconds = loader_->waited_seconds() - waited_before;
    p.tokens_per_second = static_cast<double>(report.tokens) / p.seconds;
    p.flops_per_second = TrainingFlops(trainer_->config(), batches) * mesh_->shape().data / p.seconds;
    if (options_.peak_flops > 0) p.peak_share = p.flops_per_second / (options_.peak_flops * world_.size());
    p.epochs = loader_->epochs();
    spent_ += p.seconds;
    p.seconds_left = spent_ / static_cast<double>(++updates_) * static_cast<double>(total - report.step);
    if (!leads()) return {};
    if (listener_.stepped) listener_.stepped(p);
    return log_->Add(p);
  }

  Status Evaluate() {
    if (!held_out_) return {};
    const EvaluationSet set(*held_out_, LoaderOptionsOf(options_, *mesh_));
    Evaluation e{.step = trainer_->step()};
    double main_targets = 0, mtp_targets = 0;
    for (int64_t i = 0; i < set.updates(); ++i) {
      ASSIGN_OR_RETURN(result_.interrupted, ShouldStop());
      if (result_.interrupted) return {};
      const std::vector<MicroBatch> batches = set.update(i);
      ASSIGN_OR_RETURN(const StepReport r, trainer_->Evaluate(batches));
      // Means over targets, of updates that have different numbers of them.
      const auto main = static_cast<double>(r.main_targets), mtp = static_cast<double>(r.mtp_targets);
      e.loss += r.loss * main;
      e.accuracy += r.accuracy * main;
      e.mtp_loss += r.mtp_loss * mtp;
      e.mtp_accuracy += r.mtp_accuracy * mtp;
      main_targets += main;
      mtp_targets += mtp;
    }
    if (main_targets > 0) e.loss /= main_targets, e.accuracy /= main_targets;
    if (mtp_targets > 0) e.mtp_loss /= mtp_targets, e.mtp_accuracy /= mtp_targets;
    result_.evaluation = e;
    if (!leads()) return {};
    if (listener_.evaluated) listener_.evaluated(e);
    return log_->Add(e);
  }

  Status Save() {
    if (saved_at_ == trainer_->step()) return {};
    RETURN_IF_ERROR(store_.Save(*trainer_, loader_->cursor().Text()));
    saved_at_ = trainer_->step();
    return {};
  }

  Result<RunResult> End() {
    RETURN_IF_ERROR(Save());
    if (!result_.interrupted) RETURN_IF_ERROR(Evaluate());
    result_.steps = trainer_->step();
    Status ended;
    if (leads()) {
      // The others wait at the barrier below, for as long as this takes.
      const LongWork work(world_, "drawing the loss and writing the model");
      ended = log_->Draw();
      if (ended && !result_.interrupted) ended = Export();
    }
    const Status all = Agree(world_, ended, "end");
    if (!all && all.error().code != Code::kCancelled) return tl::unexpected(all.error());
    if (!all) result_.interrupted = true;
    result_.peak_bytes = PeakBytes();
    return result_;
  }

  Status Export() {
    const auto go_on = [&](uint64_t, uint64_t) { return !(listener_.interrupted && listener_.interrupted()); };
    ASSIGN_OR_RETURN(const Path checkpoint, store_.Newest());
    ASSIGN_OR_RETURN(const RunExport made, ExportRun({.checkpoint = checkpoint, .source = options_.model, .out = options_.out,
                                                      .weights = options_.export_weights, .lora = trainer_->options().lora,
                                                      .progress = go_on}, pool_));
    result_.model = made.model;
    result_.adapter = made.adapter;
    return {};
  }

  Communicator& world_;
  const RunOptions& options_;
  const RunListener& listener_;
  ThreadPool pool_;
  CheckpointStore store_;
  Path newest_;  // checkpoint at the start; empty: none
  std::unique_ptr<ProcessMesh> mesh_;
  std::unique_ptr<TokenDataset> data_, held_out_;
  std::unique_ptr<Trainer<T>> trainer_;
  std::unique_ptr<DataLoader> loader_;
  std::optional<RunLog> log_;
  RunResult result_;
  int64_t saved_at_ = -1, updates_ = 0;
  double spent_ = 0;
};

}  // namespace

Result<RunResult> RunTraining(Communicator& world, const RunOptions& options, const RunListener& listener) {
  std::error_code error;
  std::filesystem::create_directories(options.out / "checkpoints", error);
  if (error) return FailedPrecondition("cannot make {}: {}", options.out.string(), error.message());
  if (options.trainer.compute == Compute::kF64) return Run<double>(world, options, listener).Go();
  return Run<float>(world, options, listener).Go();
}

}  // namespace hadal::train
