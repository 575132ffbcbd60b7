#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <mutex>

#include "model/safetensors_writer.h"
#include "parallel/thread_communicator.h"
#include "train/checkpoint/checkpoint_store.h"
#include "train/train_test_util.h"

namespace hadal::train {
namespace {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "hadal-ckpt-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const Path& path() const { return path_; }

 private:
  Path path_;
};

ModelConfig EightWays() {
  ModelConfig c = SmallConfig();
  c.num_attention_heads = 8;
  c.num_hidden_layers = 4;
  return c;
}

/// The micro-batches of update `step` for this replica of 4 an update.
std::vector<MicroBatch> BatchesOf(const ProcessMesh& mesh, const TrainerOptions& o, const ModelConfig& c, int64_t step) {
  std::vector<MicroBatch> batches;
  for (int64_t i = 0; i < o.accumulation_steps; ++i)
    batches.push_back(RandomBatch(c, o.micro_batch_size, o.sequence_length, 5,
                                  static_cast<uint64_t>(step * 100 + mesh.replica() * o.accumulation_steps + i)));
  return batches;
}

/// All that a run's end depends on.
template <typename T>
struct Final {
  std::mutex mutex;
  std::map<std::string, std::vector<T>> values;
};

/// Trains on `shape` from `resume` (if not empty) to `steps`, and saves at `save_at`.
template <typename T>
Status TrainRun(const MeshShape& shape, Compute compute, const Path& dir, const Path& resume, int64_t save_at, int64_t steps,
           Final<T>* end, const LoraOptions& lora = {}, int64_t keep = 2) {
  const ModelConfig c = EightWays();
  TrainerOptions o = SmallOptions(compute);
  o.micro_batch_size = 1;
  o.accumulation_steps = 4 / shape.data;
  o.initial_loss_scale = 512;
  o.lora = lora;
  return RunRanks(shape.ranks(), std::chrono::seconds(120), [&](Communicator& world) -> Status {
    ASSIGN_OR_RETURN(const auto mesh, ProcessMesh::Create(world, shape));
    ThreadPool pool(1);
    ASSIGN_OR_RETURN(const auto trainer, Trainer<T>::Create(c, *mesh, pool, o));
    trainer->Initialize(11);
    if (!resume.empty()) {
      ASSIGN_OR_RETURN(const Manifest manifest, CheckpointStore::Load(resume, *trainer));
      if (manifest.data_cursor != "cursor") return DataLoss("cursor '{}'", manifest.data_cursor);
    }
    CheckpointStore store(dir, keep);
    while (trainer->step() < steps) {
      if (trainer->step() == save_at) RETURN_IF_ERROR(store.Save(*trainer, "cursor"));
      RETURN_IF_ERROR(trainer->Step(BatchesOf(*mesh, o, c, trainer->step())));
    }
    if (!end) return {};
    const std::lock_guard lock(end->mutex);
    for (size_t i = 0; i < trainer->params().shards().size(); ++i) {
      const Shard& s = trainer->params().shards()[i];
      std::vector<T>& whole = end->values[s.name];
      whole.resize(static_cast<size_t>(s.full_rows * s.full_cols));
      for (int64_t r = 0; r < s.rows; ++r)
        std::copy_n(trainer->params().parameter(i).value.row(r), s.cols,
                    whole.begin() + (s.row + r) * s.full_cols + s.col);
    }
    for (const auto& bias : trainer->params().biases()) end->values[fmt::format("bias {}", bias.layer)] = bias.values;
    return {};
  });
}

TEST(Checkpoint, ResumesBitForBitOnTheSameMesh) {
  for (const MeshShape& shape : {MeshShape{}, MeshShape{.tensor = 2, .pipeline = 2, .data = 2, .expert = 2}})
    for (const Compute compute : {Compute::kF32, Compute::kF16}) {
      const TempDir dir;
      Final<float> straight, resumed;
      const Status first = TrainRun<float>(shape, compute, dir.path(), {}, 3, 6, &straight);
      ASSERT_TRUE(first) << first.error().message;
      const Path newest = CheckpointStore(dir.path(), 2).Newest().value();
      EXPECT_EQ(newest.filename(), "step-00000003");
      const Status second = TrainRun<float>(shape, compute, dir.path(), newest, -1, 6, &resumed);
      ASSERT_TRUE(second) << second.error().message;
      EXPECT_EQ(straight.values, resumed.values);
    }
}

TEST(Checkpoint, IsRestoredOnAnyOtherMesh) {
  const TempDir dir;
  const MeshShape writer{.tensor = 2, .pipeline = 2, .data = 2, .expert = 2};
  Final<double> straight;
  ASSERT_TRUE(TrainRun<double>(writer, Compute::kF64, dir.path(), {}, 2, 4, &straight));
  const Path newest = CheckpointStore(dir.path(), 2).Newest().value();
  for (const MeshShape& reader : {MeshShape{}, MeshShape{.data = 4}, MeshShape{.tensor = 4, .data = 2, .expert = 2},
                                  MeshShape{.pipeline = 4, .data = 1}, MeshShape{.tensor = 8}}) {
    Final<double> other;
    const Status status = TrainRun<double>(reader, Compute::kF64, dir.path(), newest, -1, 4, &other);
    ASSERT_TRUE(status) << status.error().message;
    ASSERT_EQ(other.values.size(), straight.values.size());
    for (const auto& [name, values] : straight.values)
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_NEAR(values[i], other.values[name][i], 1e-11) << name << " element " << i;
  }
}

TEST(Checkpoint, AdaptersResumeTooOnTheSameMeshAndOnOthers) {
  const TempDir dir;
  const LoraOptions lora{.rank = 3, .alpha = 6, .targets = "all", .seed = 2, .base = "of these"};
  const MeshShape writer{.tensor = 2, .pipeline = 2, .data = 2, .expert = 2};
  Final<double> straight, resumed;
  ASSERT_TRUE(TrainRun<double>(writer, Compute::kF64, dir.path(), {}, 2, 4, &straight, lora));
  const Path newest = CheckpointStore(dir.path(), 2).Newest().value();
  const Status status = TrainRun<double>(writer, Compute::kF64, dir.path(), newest, -1, 4, &resumed, lora);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(straight.values, resumed.values);
  for (const MeshShape& reader : {MeshShape{}, MeshShape{.data = 4}, MeshShape{.tensor = 4, .data = 2, .expert = 2},
                                  MeshShape{.pipeline = 4, .data = 1}, MeshShape{.tensor = 8}}) {
    Final<double> other;
    const Status read = TrainRun<double>(reader, Compute::kF64, dir.path(), newest, -1, 4, &other, lora);
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(other.values.size(), straight.values.size());
    for (const auto& [name, values] : straight.values)
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_NEAR(values[i], other.values[name][i], 1e-11) << name << " element " << i;
  }
}

TEST(Checkpoint, KeepsTheNewestAndNoLeftovers) {
  const TempDir dir;
  for (const int64_t at : {1, 2, 3}) ASSERT_TRUE(TrainRun<float>({}, Compute::kF32, dir.path(), {}, at, at + 1, nullptr));
  const std::vector<Path> all = ListCheckpoints(dir.path());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].filename(), "step-00000003");
  EXPECT_EQ(all[1].filename(), "step-00000002");
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) ++entries;
  EXPECT_EQ(entries, 2u);
}

TEST(Checkpoint, NamesWhatIsDamagedMissingOrOfAnotherModel) {
  const TempDir dir;
  ASSERT_TRUE(TrainRun<float>({}, Compute::kF32, dir.path(), {}, 1, 2, nullptr));
  const Path good = CheckpointStore(dir.path(), 2).Newest().value();
  const Path file = good / "rank-00000.safetensors";
  const auto load = [&] { return TrainRun<float>({}, Compute::kF32, dir.path(), good, -1, 1, nullptr); };
  ASSERT_TRUE(load());
  // One bit in the middle.
  std::string bytes = ReadFile(file).value();
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(file, std::ios::binary) << bytes;
  Status status = load();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("is damaged"), std::string::npos) << status.error().message;
  std::filesystem::resize_file(file, bytes.size() - 1);
  status = load();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("its manifest says"), std::string::npos) << status.error().message;
  std::filesystem::remove(file);
  EXPECT_FALSE(load());
  EXPECT_FALSE(TrainRun<double>({}, Compute::kF64, dir.path(), good, -1, 1, nullptr));
  std::ofstream(good / kManifestName) << "{\"format\": 1";
  status = load();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("no JSON object"), std::string::npos);
}

TEST(Checkpoint, PiecesHaveNamesThatCannotLie) {
  const StatePiece piece{.kind = StateKind::kFirstMoment, .name = "model.norm.weight", .row = 0, .rows = 2, .col = 3,
                         .cols = 5, .first = 4, .count = 6};
  const StatePiece read = StatePiece::Parse(piece.Key()).value();
  EXPECT_EQ(read.Key(), piece.Key());
  for (const char* bad : {"", "w", "w|a|0+1|0+1", "x|a|0+1|0+1|0+1", "w||0+1|0+1|0+1", "w|a|0+1|0+0|0+0", "w|a|0+1|0+1|0+2",
                          "w|a|-1+1|0+1|0+1", "w|a|0+1|0+1|0+1|", "w|a|0+9999999999999999999|0+1|0+1"})
    EXPECT_FALSE(StatePiece::Parse(bad)) << bad;
}

/// Two checkpoints, of steps 1 and 2.
void SaveTwo(const Path& dir) {
  for (const int64_t at : {1, 2}) ASSERT_TRUE(TrainRun<float>({}, Compute::kF32, dir, {}, at, at + 1, nullptr));
}

/// What ranks of a world choose; all must choose the same.
Result<CheckpointStore::Choice> ChooseOn(int ranks, const Path& dir) {
  std::vector<Result<CheckpointStore::Choice>> choices(static_cast<size_t>(ranks));
  const Status status = RunRanks(ranks, std::chrono::seconds(60), [&](Communicator& world) -> Status {
    auto& mine = choices[static_cast<size_t>(world.rank())];
    mine = CheckpointStore(dir, 2).Choose(world);
    return mine ? Status() : Status(tl::unexpected(mine.error()));
  });
  for (const auto& choice : choices)
    if (choice.has_value() != choices[0].has_value() || (choice && choice->folder != choices[0]->folder))
      return Internal("ranks chose differently");
  return std::move(choices[0]);
}

TEST(Checkpoint, TheNewestWholeOneIsChosenByAllRanksAndTheDamagedOneSetAside) {
  const auto flip = [](const Path& file) {
    std::string bytes = ReadFile(file).value();
    bytes[bytes.size() / 2] ^= 1;
    std::ofstream(file, std::ios::binary) << bytes;
  };
  const std::pair<const char*, std::function<void(const Path&)>> damages[] = {
      {"is damaged", [&](const Path& step) { flip(step / "rank-00000.safetensors"); }},
      {"its manifest says", [](const Path& step) { std::filesystem::resize_file(step / "rank-00000.safetensors", 100); }},
      {"rank-00000.safetensors", [](const Path& step) { std::filesystem::remove(step / "rank-00000.safetensors"); }},
      {"no JSON object", [](const Path& step) { std::ofstream(step / kManifestName) << "half of a"; }},
      {"holds step 1",
       [](const Path& step) {
         std::filesystem::copy_file(step.parent_path() / "step-00000001" / kManifestName, step / kManifestName,
                                    std::filesystem::copy_options::overwrite_existing);
         std::filesystem::copy_file(step.parent_path() / "step-00000001/rank-00000.safetensors",
                                    step / "rank-00000.safetensors", std::filesystem::copy_options::overwrite_existing);
       }}};
  for (const auto& [what, damage] : damages)
    for (const int ranks : {1, 3}) {
      SCOPED_TRACE(what);
      const TempDir dir;
      SaveTwo(dir.path());
      damage(dir.path() / "step-00000002");
      const auto choice = ChooseOn(ranks, dir.path());
      ASSERT_TRUE(choice) << choice.error().message;
      EXPECT_EQ(choice->folder, dir.path() / "step-00000001");
      ASSERT_EQ(choice->skipped.size(), 1u);
      EXPECT_NE(choice->skipped[0].find("step-00000002 is passed over"), std::string::npos) << choice->skipped[0];
      EXPECT_NE(choice->skipped[0].find(what), std::string::npos) << choice->skipped[0];
      EXPECT_TRUE(std::filesystem::exists(dir.path() / "step-00000002.damaged"));
      EXPECT_EQ(ListCheckpointSteps(dir.path()), std::vector<int64_t>{1});
    }
}

TEST(Checkpoint, NothingIsChosenWhereNothingIsWholeOrAnotherVersionWroteIt) {
  const TempDir dir;
  EXPECT_TRUE(ChooseOn(2, dir.path() / "none").value().folder.empty());
  SaveTwo(dir.path());
  std::string manifest = ReadFile(dir.path() / "step-00000002" / kManifestName).value();
  manifest.replace(manifest.find("\"format\": 2"), 11, "\"format\": 3");
  std::ofstream(dir.path() / "step-00000002" / kManifestName) << manifest;
  auto choice = ChooseOn(2, dir.path());
  ASSERT_FALSE(choice);
  EXPECT_NE(choice.error().message.find("another version of hadal"), std::string::npos) << choice.error().message;
  for (const char* step : {"step-00000001", "step-00000002"}) std::ofstream(dir.path() / step / kManifestName) << "{}";
  choice = ChooseOn(2, dir.path());
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().code, Code::kDataLoss);
  EXPECT_NE(choice.error().message.find("has no whole checkpoint"), std::string::npos) << choice.error().message;
  EXPECT_EQ(ListCheckpointSteps(dir.path()).size(), 2u);
}

TEST(Checkpoint, FoldersOfOtherNamesAreNoneAndLeftoversGo) {
  const TempDir dir;
  for (const char* name : {"step-00000007", "step-99999999999999999999999", "step-7", "step-", "step-00000003.partial",
                           "step-00000002.damaged", "step-0000000x", "other.partial"}) {
    std::filesystem::create_directories(dir.path() / name);
    std::ofstream(dir.path() / name / kManifestName) << "{}";
  }
  EXPECT_EQ(ListCheckpointSteps(dir.path()), std::vector<int64_t>{7});
  CheckpointStore(dir.path(), 2).RemoveLeftovers();
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "step-00000003.partial"));
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "step-00000002.damaged"));
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "other.partial"));
  // What was just saved stays, whatever stands beside it.
  ASSERT_TRUE(TrainRun<float>({}, Compute::kF32, dir.path(), {}, 1, 2, nullptr, {}, /*keep=*/1));
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "step-00000001" / kManifestName));
}

TEST(Checkpoint, WhatCannotBeLookedIntoIsNotPassedOverInSilence) {
  const TempDir dir;
  SaveTwo(dir.path());
  // As without permissions, which root has everywhere: a link to itself.
  std::filesystem::create_directory_symlink("step-00000003", dir.path() / "step-00000003");
  EXPECT_EQ(ListCheckpointSteps(dir.path()), (std::vector<int64_t>{3, 2, 1}));
  const auto choice = ChooseOn(2, dir.path());
  ASSERT_FALSE(choice);
  EXPECT_NE(choice.error().message.find("step-00000003"), std::string::npos) << choice.error().message;
  EXPECT_NE(choice.error().code, Code::kDataLoss);
  std::filesystem::create_directory_symlink("all", dir.path() / "all");
  const auto all = ChooseOn(2, dir.path() / "all");
  ASSERT_FALSE(all);
  EXPECT_NE(all.error().message.find("cannot list " + (dir.path() / "all").string()), std::string::npos)
      << all.error().message;
}

TEST(Checkpoint, RoomAndPermissionAreLookedAtBeforeTheFirstUpdate) {
  const TempDir dir;
  const auto check = [](int ranks, const Path& place) {
    return RunRanks(ranks, std::chrono::seconds(60), [&](Communicator& world) -> Status {
      ASSIGN_OR_RETURN(const auto mesh, ProcessMesh::Create(world, {.data = ranks}));
      ThreadPool pool(1);
      ASSIGN_OR_RETURN(const auto trainer,
                       Trainer<float>::Create(EightWays(), *mesh, pool, SmallOptions(Compute::kF32)));
      return CheckpointStore(place, 2).CheckPlace(*trainer);
    });
  };
  for (const int ranks : {1, 2}) EXPECT_TRUE(check(ranks, dir.path())) << ranks;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  const Status unwritable = check(2, dir.path() / "none");
  ASSERT_FALSE(unwritable);
  EXPECT_NE(unwritable.error().message.find("none"), std::string::npos) << unwritable.error().message;
  // A file system without room.
  const Status full = check(2, "/proc/self");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::kResourceExhausted);
  EXPECT_NE(full.error().message.find("0.000 GB are free in /proc/self"), std::string::npos)
      << full.error().message;
}

/// A checkpoint of one file with the given pieces, of as many zeros each.
void WritePieces(const Path& dir, const std::vector<StatePiece>& pieces) {
  std::filesystem::create_directories(dir);
  std::vector<TensorDeclaration> declarations;
  for (const StatePiece& p : pieces) declarations.push_back({p.Key(), DType::kF32, {p.count}});
  auto writer = SafetensorsWriter::Create(dir / "file", declarations).value();
  for (const StatePiece& p : pieces) {
    const std::vector<float> zeros(static_cast<size_t>(p.count));
    ASSERT_TRUE(writer.Write(p.Key(), std::as_bytes(std::span(zeros))));
  }
  ASSERT_TRUE(writer.Finish());
  Manifest manifest;
  manifest.dtype = "F32";
  manifest.precision = "f32";
  manifest.files = {{"file", std::filesystem::file_size(dir / "file"), 0}};
  ASSERT_TRUE(WriteFileAtomic(dir / kManifestName, ManifestText(manifest)));
}

TEST(Checkpoint, PiecesThatOverlapHideNoHole) {
  const TempDir dir;
  const auto piece = [](int64_t row, int64_t rows, int64_t col, int64_t cols, int64_t first, int64_t count) {
    return StatePiece{.kind = StateKind::kValue, .name = "a", .row = row, .rows = rows, .col = col, .cols = cols,
                      .first = first, .count = count};
  };
  // [4, 6] in all: two boxes of columns, one of them in three runs.
  std::vector<StatePiece> good = {piece(0, 4, 0, 2, 0, 8), piece(0, 4, 2, 4, 0, 3), piece(0, 4, 2, 4, 3, 10),
                                  piece(0, 4, 2, 4, 13, 3)};
  WritePieces(dir.path() / "good", good);
  const auto reader = CheckpointReader::Open(dir.path() / "good", false);
  ASSERT_TRUE(reader) << reader.error().message;
  std::vector<float> out(24);
  EXPECT_EQ(reader->ReadBox<float>(StateKind::kValue, "a", 0, 4, 0, 6, out.data()).value(), 24);
  // As many elements, of which one is there twice and one is not.
  const std::vector<std::vector<StatePiece>> bad = {
      {piece(0, 4, 0, 2, 0, 8), piece(0, 4, 2, 4, 0, 4), piece(0, 4, 2, 4, 3, 10), piece(0, 4, 2, 4, 13, 2)},
      {piece(0, 4, 0, 3, 0, 12), piece(0, 4, 2, 4, 0, 12)},
      {piece(0, 2, 0, 6, 0, 12), piece(1, 3, 0, 6, 0, 12)}};
  for (size_t i = 0; i < bad.size(); ++i) {
    const Path folder = dir.path() / std::to_string(i);
    WritePieces(folder, bad[i]);
    const auto opened = CheckpointReader::Open(folder, false);
    ASSERT_FALSE(opened) << i;
    EXPECT_NE(opened.error().message.find("two pieces of a ('w') hold the same element"), std::string::npos)
        << opened.error().message;
  }
}

TEST(Checkpoint, ManifestsThatMakeNoSenseAreErrors) {
  Manifest manifest;
  manifest.step = 5;
  manifest.dtype = "F32";
  manifest.precision = "f32";
  manifest.files = {{"f", 1, 2}};
  const std::string good = ManifestText(manifest);
  ASSERT_TRUE(ParseManifest(good, "m"));
  const std::pair<const char*, const char*> changes[] = {
      {"\"step\": 5", "\"step\": 1e300"}, {"\"step\": 5", "\"step\": -5"}, {"\"step\": 5", "\"step\": \"5\""},
      {"\"step\": 5", "\"step\": 99999999999999999999"}, {"\"tensor\": 1", "\"tensor\": 9999999999"},
      {"\"tensor\": 1", "\"tensor\": 0"}, {"\"bytes\": 1", "\"bytes\": -1"},
      {"0000000000000002", "xyz"}, {"\"f\"", "\"../f\""}, {"\"loss_scale\": 1.0", "\"loss_scale\": 0"},
      {"\"precision\"", "\"precission\""}, {"\"files\": [", "\"files\": [7,"}};
  for (const auto& [from, to] : changes) {
    std::string bad = good;
    ASSERT_NE(bad.find(from), std::string::npos) << from;
    bad.replace(bad.find(from), std::string(from).size(), to);
    const auto parsed = ParseManifest(bad, "m");
    ASSERT_FALSE(parsed) << to;
    EXPECT_EQ(parsed.error().code, Code::kDataLoss) << to;
  }
}

TEST(Checkpoint, GoesOnInAnotherPrecisionWithItsOwnLossScale) {
  const TempDir dir;
  ASSERT_TRUE(TrainRun<float>({}, Compute::kF16, dir.path(), {}, 2, 3, nullptr));
  const Path newest = CheckpointStore(dir.path(), 2).Newest().value();
  EXPECT_EQ(LoadManifest(newest).value().loss_scale, 512);
  for (const Compute compute : {Compute::kF32, Compute::kBF16, Compute::kF16}) {
    const ModelConfig c = EightWays();
    LoopbackCommunicator alone;
    const auto mesh = ProcessMesh::Create(alone, {}).value();
    ThreadPool pool(1);
    TrainerOptions o = SmallOptions(compute);
    o.initial_loss_scale = 128;
    const auto trainer = Trainer<float>::Create(c, *mesh, pool, o).value();
    ASSERT_TRUE(CheckpointStore::Load(newest, *trainer));
    EXPECT_EQ(trainer->loss_scale().value(), compute == Compute::kF16 ? 512 : 1);
  }
}

TEST(Checkpoint, TheLastGoodOneSurvivesAKillAtAnyMoment) {
  const TempDir dir;
  ASSERT_TRUE(TrainRun<float>({}, Compute::kF32, dir.path(), {}, 1, 2, nullptr));
  // A child saves again and again, and is killed after a while that grows.
  for (int round = 0; round < 12; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      // Always from the newest: older ones are removed on the way.
      for (;;) {
        const Path from = CheckpointStore(dir.path(), 2).Newest().value();
        const int64_t step = LoadManifest(from).value().step;
        if (!TrainRun<float>({}, Compute::kF32, dir.path(), from, step + 1, step + 2, nullptr)) _exit(1);
      }
    }
    usleep(static_cast<useconds_t>(2000 + round * 7000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    const Result<Path> newest = CheckpointStore(dir.path(), 2).Newest();
    ASSERT_TRUE(newest);
    const Status resumed = TrainRun<float>({}, Compute::kF32, dir.path(), *newest, -1, 1, nullptr);
    EXPECT_TRUE(resumed) << resumed.error().message;
  }
}

TEST(Checkpoint, AFullDiskLosesNothing) {
  const TempDir dir;
  ASSERT_TRUE(TrainRun<float>({}, Compute::kF32, dir.path(), {}, 1, 2, nullptr));
  const pid_t child = fork();
  if (child == 0) {
    // Files may not grow beyond 64 KiB: as on a disk that is full.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{65536, 65536};
    setrlimit(RLIMIT_FSIZE, &limit);
    const Path from = CheckpointStore(dir.path(), 2).Newest().value();
    const Status status = TrainRun<float>({}, Compute::kF32, dir.path(), from, 2, 3, nullptr);
    _exit(!status && status.error().message.find("rank-00000.safetensors") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) ++entries;
  EXPECT_EQ(entries, 1u);
  EXPECT_TRUE(TrainRun<float>({}, Compute::kF32, dir.path(), CheckpointStore(dir.path(), 2).Newest().value(), -1, 2, nullptr));
}

}  // namespace
}  // namespace hadal::train
