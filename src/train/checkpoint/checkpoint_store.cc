#include "train/checkpoint/checkpoint_store.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/check.h"
#include "base/checksum.h"
#include "model/config_writer.h"
#include "model/safetensors_writer.h"
#include "parallel/agree.h"

namespace hadal::train {
namespace {

template <typename T>
constexpr DType kDType = sizeof(T) == 8 ? DType::kF64 : DType::kF32;

constexpr const char* kPartialEnding = ".partial";

constexpr std::string_view kBiasTail = "mlp.gate.e_score_correction_bias";

std::string BiasName(int64_t layer) { return fmt::format("{}{}", LayerPrefix(layer), kBiasTail); }

/// A piece of state and its numbers.
template <typename T>
struct Owned {
  StatePiece piece;
  std::span<const T> numbers;
};

/// Calls use(shard, first, count, at) for the stretch [first, first + count) of each shard's elements that lies in
/// `piece`, `at` elements from the piece's beginning.
template <typename T, typename Use>
void ForShards(const ShardSet<T>& params, const typename AdamW<T>::Piece& piece, bool experts, Use use) {
  int64_t at = 0;  // in the group
  const auto size = static_cast<int64_t>(piece.m.size());
  for (size_t i = 0; i < params.shards().size(); ++i) {
    const Shard& s = params.shards()[i];
    if (s.expert != experts) continue;
    const int64_t begin = std::max(at, piece.first), end = std::min(at + s.elements(), piece.first + size);
    if (begin < end) use(i, begin - at, end - begin, begin - piece.first);
    at += s.elements();
  }
}

/// What this rank alone answers for. Of what several shards hold the first has it; of copies the first stage.
template <typename T>
std::vector<Owned<T>> OwnedState(Trainer<T>& trainer) {
  std::vector<Owned<T>> owned;
  const ShardSet<T>& params = trainer.trained();
  const ProcessMesh& mesh = trainer.mesh();
  for (const bool experts : {false, true}) {
    const auto& piece = experts ? trainer.optimizer().experts() : trainer.optimizer().dense();
    ForShards<T>(params, piece, experts, [&](size_t i, int64_t first, int64_t count, int64_t at) {
      const Shard& s = params.shards()[i];
      if (s.copy || (s.replicated && mesh.shard() != 0)) return;
      StatePiece p{.kind = StateKind::kValue, .name = s.name, .row = s.row, .rows = s.rows, .col = s.col, .cols = s.cols, .first = first,
                   .count = count};
      const auto n = static_cast<size_t>(count), from = static_cast<size_t>(at);
      const std::span<const T> all[] = {piece.group.values.subspan(static_cast<size_t>(piece.first) + from, n),
                                        piece.m.subspan(from, n), piece.v.subspan(from, n)};
      int kind = 0;
      for (const StateKind k : {StateKind::kValue, StateKind::kFirstMoment, StateKind::kSecondMoment}) {
        p.kind = k;
        owned.push_back({p, all[kind++]});
      }
    });
  }
  // Adapters leave the biases as they are in the model's folder.
  if (mesh.replica() == 0 && mesh.shard() == 0 && !trainer.lora())
    for (const auto& bias : trainer.params().biases()) {
      const auto n = static_cast<int64_t>(bias.values.size());
      owned.push_back({{.kind = StateKind::kBias, .name = BiasName(bias.layer), .rows = 1, .cols = n, .count = n},
                       bias.values});
    }
  return owned;
}

Status MakeEmptyFolder(const Path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  std::filesystem::create_directories(path, error);
  if (error) return FailedPrecondition("cannot make the folder {}: {}", path.string(), error.message());
  return {};
}

/// Reads a tensor's box and insists that all of it is there.
template <typename T>
Status ReadWhole(const CheckpointReader& reader, StateKind kind, const Shard& s, T* out) {
  ASSIGN_OR_RETURN(const int64_t filled, reader.ReadBox<T>(kind, s.name, s.row, s.rows, s.col, s.cols, out));
  if (filled != s.elements())
    return DataLoss("the checkpoint has {} of {} elements of {} ('{}')", filled, s.elements(), s.name,
                    static_cast<char>(kind));
  return {};
}

}  // namespace

const char* PrecisionName(Compute compute) {
  switch (compute) {
    case Compute::kF64: return "f64";
    case Compute::kF32: return "f32";
    case Compute::kBF16: return "bf16";
    case Compute::kF16: return "f16";
  }
  HADAL_CHECK(false, "precision {}", static_cast<int>(compute));
}

template <typename T>
Result<CheckpointFile> CheckpointStore::WriteOwn(Trainer<T>& trainer, const Path& partial) const {
  const std::vector<Owned<T>> owned = OwnedState(trainer);
  CheckpointFile file;
  file.name = fmt::format("rank-{:05d}.safetensors", trainer.mesh().world().rank());
  std::vector<TensorDeclaration> declarations;
  for (const Owned<T>& o : owned) declarations.push_back({o.piece.Key(), kDType<T>, {o.piece.count}});
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(partial / file.name, declarations));
  for (const Owned<T>& o : owned) RETURN_IF_ERROR(writer.Write(o.piece.Key(), std::as_bytes(o.numbers)));
  RETURN_IF_ERROR(writer.Finish());
  ASSIGN_OR_RETURN(const MappedFile written, MappedFile::Open(partial / file.name));
  Checksum sum;
  sum.Add(written.bytes());
  file.bytes = written.bytes().size();
  file.checksum = sum.value();
  return file;
}

Status CheckpointStore::Finish(Manifest manifest, const Path& partial) {
  RETURN_IF_ERROR(WriteFileAtomic(partial / kManifestName, ManifestText(manifest)));
  const Path final_name = FolderOf(manifest.step);
  std::error_code error;
  // One of the same step may be there after a resume: it is as good, and goes only now.
  std::filesystem::remove_all(final_name, error);
  std::filesystem::rename(partial, final_name, error);
  if (error) return FailedPrecondition("cannot name {}: {}", final_name.string(), error.message());
  RETURN_IF_ERROR(SyncFolder(dir_));
  const std::vector<Path> all = ListCheckpoints(dir_);
  for (size_t i = static_cast<size_t>(std::max<int64_t>(1, keep_)); i < all.size(); ++i) {
    if (all[i] == final_name) continue;
    // The manifest first: a folder that is half gone is no checkpoint.
    std::filesystem::remove(all[i] / kManifestName, error);
    std::filesystem::remove_all(all[i], error);
  }
  return {};
}

template <typename T>
Status CheckpointStore::CheckPlace(Trainer<T>& trainer) const {
  Communicator& world = trainer.mesh().world();
  int64_t bytes = 0;
  for (const Owned<T>& o : OwnedState(trainer)) bytes += static_cast<int64_t>(o.numbers.size_bytes());
  RETURN_IF_ERROR(world.AllReduceSum(std::span(&bytes, 1), "bytes of a checkpoint"));
  const auto mine = [&]() -> Status {
    if (world.rank() == 0) {
      ASSIGN_OR_RETURN(const uint64_t free, FreeDiskBytes(dir_));
      if (static_cast<uint64_t>(bytes) > free)
        return ResourceExhausted("a checkpoint takes {:.3f} GB, and {:.3f} GB are free in {}; make room there (a new "
                                 "one is whole before an older one goes), or choose another disk",
                                 static_cast<double>(bytes) / 1e9, static_cast<double>(free) / 1e9, dir_.string());
    }
    // It goes again at once.
    const Result<AtomicFile> probe = AtomicFile::Create(dir_ / fmt::format("probe-{:05d}", world.rank()));
    return probe ? Status() : Status(tl::unexpected(probe.error()));
  };
  return Agree(world, mine(), "place for checkpoints");
}

template <typename T>
Status CheckpointStore::Save(Trainer<T>& trainer, const std::string& data_cursor) {
  Communicator& world = trainer.mesh().world();
  const Path partial = dir_ / (StepFolderName(trainer.step()) + kPartialEnding);
  const bool leads = world.rank() == 0;
  RETURN_IF_ERROR(Agree(world, leads ? MakeEmptyFolder(partial) : Status(), "checkpoint folder"));
  const Result<CheckpointFile> own = [&] {
    const LongWork work(world, "writing a checkpoint");
    return WriteOwn(trainer, partial);
  }();
  Status status = Agree(world, own ? Status() : Status(tl::unexpected(own.error())), "checkpoint files");
  std::error_code error;
  if (!status) {
    if (leads) std::filesystem::remove_all(partial, error);
    return status;
  }
  struct Entry {
    uint64_t bytes, checksum;
  } mine{own->bytes, own->checksum};
  std::vector<Entry> all(static_cast<size_t>(world.size()));
  RETURN_IF_ERROR(world.AllGather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)),
                                  "checkpoint checksums"));
  if (leads) {
    Manifest manifest{.step = trainer.step(),
                      .adam_steps = trainer.optimizer().steps(),
                      .loss_scale = trainer.loss_scale().value(),
                      .loss_scale_good_steps = trainer.loss_scale().good_steps(),
                      .dtype = std::string(DTypeName(kDType<T>)),
                      .precision = PrecisionName(trainer.options().compute),
                      .mesh = trainer.mesh().shape(),
                      .config = ConfigJson(trainer.config()),
                      .data_cursor = data_cursor,
                      .lora = trainer.options().lora.Text(),
                      .files = {}};
    for (size_t r = 0; r < all.size(); ++r)
      manifest.files.push_back({fmt::format("rank-{:05d}.safetensors", r), all[r].bytes, all[r].checksum});
    const LongWork work(world, "finishing a checkpoint");
    status = Finish(std::move(manifest), partial);
    if (!status) std::filesystem::remove_all(partial, error);
  }
  return Agree(world, status, "checkpoint");
}

template <typename T>
Result<Manifest> CheckpointStore::Load(const Path& step_dir, Trainer<T>& trainer, bool verified) {
  ProcessMesh const& mesh = trainer.mesh();
  const auto load = [&]() -> Result<Manifest> {
    const LongWork work(mesh.world(), "reading a checkpoint");
    // Rank 0 verifies for all: the bytes are the same for everybody.
    ASSIGN_OR_RETURN(const CheckpointReader reader,
                     CheckpointReader::Open(step_dir, !verified && mesh.world().rank() == 0));
    const Manifest& manifest = reader.manifest();
    if (manifest.config != ConfigJson(trainer.config()))
      return InvalidArgument("{} is a checkpoint of another model: its config.json differs from the one given",
                             step_dir.string());
    const std::string lora = trainer.options().lora.Text();
    if (manifest.lora != lora)
      return InvalidArgument("{} was made {}, and this run trains {}; go on with what it began with", step_dir.string(),
                             manifest.lora.empty() ? "without adapters" : "with adapters of " + manifest.lora,
                             lora.empty() ? "the whole model" : "adapters of " + lora);
    const ShardSet<T>& params = trainer.trained();
    for (size_t i = 0; i < params.shards().size(); ++i)
      RETURN_IF_ERROR(ReadWhole(reader, StateKind::kValue, params.shards()[i], params.parameter(i).value.data));
    std::vector<T> whole;
    for (const bool experts : {false, true}) {
      auto& piece = experts ? trainer.optimizer().experts() : trainer.optimizer().dense();
      Status status;
      ForShards<T>(params, piece, experts, [&](size_t i, int64_t first, int64_t count, int64_t at) {
        const Shard& s = params.shards()[i];
        whole.resize(static_cast<size_t>(s.elements()));
        for (const StateKind kind : {StateKind::kFirstMoment, StateKind::kSecondMoment}) {
          if (status) status = ReadWhole(reader, kind, s, whole.data());
          std::copy_n(whole.begin() + first, count, (kind == StateKind::kFirstMoment ? piece.m : piece.v).data() + at);
        }
      });
      RETURN_IF_ERROR(status);
    }
    for (auto& bias : trainer.params().biases()) {
      if (trainer.lora()) break;
      const auto n = static_cast<int64_t>(bias.values.size());
      const Shard s{.name = BiasName(bias.layer), .kind = TensorKind::kRouterBias, .rows = 1, .cols = n};
      RETURN_IF_ERROR(ReadWhole(reader, StateKind::kBias, s, bias.values.data()));
    }
    return manifest;
  };
  Result<Manifest> manifest = load();
  RETURN_IF_ERROR(Agree(mesh.world(), manifest ? Status() : Status(tl::unexpected(manifest.error())), "restored"));
  trainer.FollowTrained();
  trainer.set_step(manifest->step);
  trainer.optimizer().set_steps(manifest->adam_steps);
  // Another precision has another range, and begins with its own scale.
  if (manifest->precision == PrecisionName(trainer.options().compute))
    trainer.loss_scale().Restore(manifest->loss_scale, manifest->loss_scale_good_steps);
  return manifest;
}

namespace {

/// Errors of a checkpoint that is not what was written; with others (a disk that does not answer) an older one would not
/// help.
bool IsDamage(Code code) { return code == Code::kDataLoss || code == Code::kNotFound; }

/// Gives a damaged checkpoint a name that no run takes for one; it is not removed, since a part of it may be of use.
Status SetAside(const Path& folder) {
  std::error_code error;
  Path aside;
  for (int n = 1; aside.empty() || std::filesystem::exists(aside, error); ++n)
    aside = folder.string() + (n == 1 ? ".damaged" : fmt::format(".damaged-{}", n));
  std::filesystem::rename(folder, aside, error);
  if (error) return FailedPrecondition("cannot rename {} to {}: {}", folder.string(), aside.string(), error.message());
  return {};
}

}  // namespace

Result<CheckpointStore::Choice> CheckpointStore::Choose(Communicator& world) const {
  const bool leads = world.rank() == 0;
  Result<std::vector<int64_t>> listed;
  if (leads) listed = FindCheckpointSteps(dir_);
  RETURN_IF_ERROR(Agree(world, listed ? Status() : Status(tl::unexpected(listed.error())), "list of checkpoints"));
  const std::vector<int64_t>& steps = *listed;
  Choice choice;
  std::vector<Path> damaged;
  for (size_t i = 0;; ++i) {
    ASSIGN_OR_RETURN(const int64_t step, FromFirst(world, i < steps.size() ? steps[i] : -1, "checkpoint to go on from"));
    if (step < 0) break;
    Status mine;
    {
      const LongWork work(world, "verifying a checkpoint");
      const Result<CheckpointReader> reader = CheckpointReader::OpenShared(FolderOf(step), world.rank(), world.size());
      if (!reader) mine = tl::unexpected(reader.error());
      else if (reader->manifest().step != step)
        mine = DataLoss("{} holds step {}", FolderOf(step).string(), reader->manifest().step);
    }
    const Status whole = Agree(world, mine, "checkpoint verified");
    if (!whole && !IsDamage(whole.error().code)) return tl::unexpected(whole.error());
    if (whole) {
      choice.folder = FolderOf(step);
      Status named;
      for (const Path& folder : damaged)
        if (leads && named) named = SetAside(folder);
      RETURN_IF_ERROR(Agree(world, named, "damaged checkpoints"));
      return choice;
    }
    damaged.push_back(FolderOf(step));
    choice.skipped.push_back(fmt::format("{} is passed over: {}", StepFolderName(step), whole.error().message));
  }
  if (choice.skipped.empty()) return choice;
  return DataLoss("{} has no whole checkpoint; {}", dir_.string(), fmt::join(choice.skipped, "; "));
}

void CheckpointStore::RemoveLeftovers() const {
  std::error_code error;
  std::vector<Path> leftovers;
  for (std::filesystem::directory_iterator at(dir_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with("step-") && name.ends_with(kPartialEnding)) leftovers.push_back(at->path());
  }
  for (const Path& path : leftovers) std::filesystem::remove_all(path, error);
}

Result<Path> CheckpointStore::Newest() const {
  const std::vector<Path> all = ListCheckpoints(dir_);
  if (all.empty()) return NotFound("{} holds no complete checkpoint", dir_.string());
  return all.front();
}

#define HADAL_INSTANTIATE(T)                                                  \
  template Status CheckpointStore::CheckPlace<T>(Trainer<T>&) const;          \
  template Status CheckpointStore::Save<T>(Trainer<T>&, const std::string&);  \
  template Result<Manifest> CheckpointStore::Load<T>(const Path&, Trainer<T>&, bool);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(double)
#undef HADAL_INSTANTIATE

}  // namespace hadal::train
