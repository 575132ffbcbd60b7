#include "train/run.h"

#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <new>

#include "parallel/agree.h"
#include "train/checkpoint/adapter_folder.h"
#include "train/checkpoint/checkpoint_store.h"
#include "train/checkpoint/model_folder.h"
#include "train/cost.h"
#include "train/data/document_encoder.h"
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
    if (trainer_->step() < options_.trainer.rate.total_steps) RETURN_IF_ERROR(store_.CheckPlace(*trainer_));
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
    result_.plan.data = DataLoader::PlannedBytes(LoaderOptionsOf(options_, *mesh_));
    if (options_.available_bytes > 0)
      RETURN_IF_ERROR(CheckMemory<T>(config, *mesh_, options_.threads, options_.trainer, result_.plan,
                                     options_.available_bytes));
    ASSIGN_OR_RETURN(data_, OpenData(options_.data, config));
    if (!options_.held_out.empty()) {
      ASSIGN_OR_RETURN(held_out_, OpenData(options_.held_out, config));
      RETURN_IF_ERROR(EpochPlan::Check(held_out_->documents(), held_out_->tokens(), options_.trainer.sequence_length));
    }
    NoteLongDocuments(config);
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
    std::error_code error;
    const Path model = std::filesystem::weakly_canonical(options_.model, error);
    for (const char* result : {"model", "adapter"})
      if (model == std::filesystem::weakly_canonical(options_.out / result, error))
        return InvalidArgument("{} is what this run would write; train into another run folder", options_.model.string());
    if (options_.resume) {
      // Of no interest to the others: they wait for the choice.
      if (leads()) store_.RemoveLeftovers();
      ASSIGN_OR_RETURN(const CheckpointStore::Choice choice, store_.Choose(world_));
      newest_ = choice.folder;
      for (const std::string& skipped : choice.skipped) Note(skipped);
      return {};
    }
    Result<std::vector<int64_t>> steps;
    if (leads()) steps = FindCheckpointSteps(options_.out / "checkpoints");
    RETURN_IF_ERROR(Agree(world_, steps ? Status() : Status(tl::unexpected(steps.error())), "list of checkpoints"));
    ASSIGN_OR_RETURN(const int64_t step, FromFirst(world_, steps->empty() ? -1 : steps->front(), "start"));
    if (step < 0) return {};
    return FailedPrecondition("{} holds a run already, at {}; go on with it (--resume), or choose another folder",
                              options_.out.string(), StepFolderName(step));
  }

  /// Token shards that the model can read: of its vocabulary and, where its folder has one, its tokenizer.
  Result<std::unique_ptr<TokenDataset>> OpenData(const Path& dir, const ModelConfig& config) const {
    ASSIGN_OR_RETURN(TokenDataset data, TokenDataset::Open(dir, leads()));
    const TokenIndex& index = data.index();
    if (index.vocab_size > config.vocab_size)
      return InvalidArgument("{} was made with a vocabulary of {}, the model has {}", dir.string(), index.vocab_size,
                             config.vocab_size);
    std::error_code error;
    if (std::filesystem::exists(options_.model / "tokenizer.json", error)) {
      ASSIGN_OR_RETURN(const std::string own, TokenizerFingerprint(options_.model));
      if (own != index.tokenizer)
        return InvalidArgument("{0} was made with another tokenizer (fingerprint {1}) than the one in {2} ({3}); make it "
                               "again with 'hadal train prepare --tokenizer {2}'", dir.string(), index.tokenizer,
                               options_.model.string(), own);
    }
    return std::make_unique<TokenDataset>(std::move(data));
  }

  /// A sequence may be longer than what the model is made for as long as its documents are not: positions begin anew in
  /// each.
  void NoteLongDocuments(const ModelConfig& config) const {
    const int64_t most = config.max_position_embeddings;
    if (!leads() || options_.trainer.sequence_length <= most) return;
    int64_t longer = 0;
    for (int64_t d = 0; d < data_->documents(); ++d)
      longer += static_cast<int64_t>(data_->document(d).tokens.size()) > most;
    if (longer > 0)
      Note(fmt::format("{} of {} documents are longer than config.json's max_position_embeddings {}, and sequence_length {} "
                       "trains positions that serving will not use; lower it to {}, or raise max_position_embeddings",
                       longer, data_->documents(), most, options_.trainer.sequence_length, most));
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
    ASSIGN_OR_RETURN(const Manifest manifest, CheckpointStore::Load(newest_, *trainer_, /*verified=*/true));
    ASSIGN_OR_RETURN(const DataCursor cursor, DataCursor::Parse(manifest.data_cursor));
    RETURN_IF_ERROR(loader_->Seek(cursor));
    saved_at_ = trainer_->step();
    Note(fmt::format("goes on from {}", newest_.string()));
    const std::string precision = PrecisionName(options_.trainer.compute);
    if (manifest.precision != precision)
      Note(fmt::format("in precision {} instead of {}: not the bits that it would have had", precision, manifest.precision));
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
    ASSIGN_OR_RETURN(const std::vector<MicroBatch> batches, loader_->Next());
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
    Logged(log_->Add(p));
    return {};
  }

  /// A run is worth more than its log: where a line cannot be written it goes on, and says so once until one can.
  void Logged(const Status& added) {
    if (!added && lost_lines_++ == 0) Note(added.error().message + "; the run goes on, and lines are missing in its log");
    if (!added || lost_lines_ == 0) return;
    Note(fmt::format("the log is written again; {} lines are missing", lost_lines_));
    lost_lines_ = 0;
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
    Logged(log_->Add(e));
    return {};
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
      if (const Status drawn = log_->Draw(); !drawn) Note(drawn.error().message + "; the loss is not drawn");
      if (!result_.interrupted) ended = Export();
    }
    const Status all = Agree(world_, ended, "end");
    if (!all && all.error().code != Code::kCancelled) return tl::unexpected(all.error());
    if (!all) result_.interrupted = true;
    result_.peak_bytes = PeakBytes();
    return result_;
  }

  Status Export() {
    const auto go_on = [&](uint64_t, uint64_t) { return !(listener_.interrupted && listener_.interrupted()); };
    ASSIGN_OR_RETURN(const RunExport made, ExportRun({.checkpoint = store_.FolderOf(saved_at_), .source = options_.model, .out = options_.out,
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
  int64_t saved_at_ = -1, updates_ = 0, lost_lines_ = 0;
  double spent_ = 0;
};

}  // namespace

Result<RunResult> RunTraining(Communicator& world, const RunOptions& options, const RunListener& listener) {
  std::error_code error;
  std::filesystem::create_directories(options.out / "checkpoints", error);
  if (error) return FailedPrecondition("cannot make {}: {}", options.out.string(), error.message());
  // A rank that left by an exception would wait for the others on its way out.
  try {
    if (options.trainer.compute == Compute::kF64) return Run<double>(world, options, listener).Go();
    return Run<float>(world, options, listener).Go();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("memory ran out beside what was planned; close other programs, or lower micro_batch_size");
  } catch (const std::exception& error) {
    return Internal("the run failed: {}", error.what());
  }
}

}  // namespace hadal::train
