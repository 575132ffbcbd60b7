// Checkpoints of a run in one folder that all ranks see: written whole or not at all, kept in a number, restored on any
// mesh.
#pragma once

#include "train/checkpoint/checkpoint_reader.h"
#include "train/trainer.h"

namespace hadal::train {

/// "bf16", "f16", "f32" or "f64", as manifests have it.
const char* PrecisionName(Compute compute);

class CheckpointStore {
 public:
  /// `keep`: newest checkpoints that stay when another one is finished, at least 1.
  CheckpointStore(Path dir, int64_t keep) : dir_(std::move(dir)), keep_(keep) {}

  /// All ranks call it together, between steps. Each writes what is its own (its optimizer's piece) into
  /// step-N.partial; when all have, rank 0 adds the manifest and gives the folder its name. Until then the checkpoints
  /// before are untouched. On an error (a full disk) nothing of it stays, and all ranks return the first rank's error.
  template <typename T>
  Status Save(Trainer<T>& trainer, const std::string& data_cursor);

  /// Whether a checkpoint of this trainer has room in the folder and every rank may write there, before work is
  /// done that could not be kept. All ranks together; nothing stays. kResourceExhausted, or the file's error.
  template <typename T>
  Status CheckPlace(Trainer<T>& trainer) const;

  /// Restores step and numbers from a checkpoint of any mesh; all ranks together. Returns its manifest.
  /// Where adapters are trained the parameters are to be the model's folder's before. The loss scale is restored where
  /// the precision is the checkpoint's. kInvalidArgument: it is of another model, or of other adapters; kDataLoss: an
  /// element is missing, or a file damaged. `verified`: Choose has summed the files already.
  template <typename T>
  static Result<Manifest> Load(const Path& step_dir, Trainer<T>& trainer, bool verified = false);

  struct Choice {
    Path folder;                       // empty: there is no checkpoint
    std::vector<std::string> skipped;  // sentences on newer ones that are damaged; these were renamed to step-N.damaged
  };
  /// The newest checkpoint that is whole, the same for all ranks, which call it together and share the reading. Errors
  /// that are no damage (of permissions, of another version) are returned. kDataLoss: none of those there is whole.
  Result<Choice> Choose(Communicator& world) const;

  /// The newest complete checkpoint; kNotFound: none.
  Result<Path> Newest() const;
  Path FolderOf(int64_t step) const { return dir_ / StepFolderName(step); }
  /// What a save that was killed has left goes. One process, while no other run is in the folder.
  void RemoveLeftovers() const;

 private:
  template <typename T>
  Result<CheckpointFile> WriteOwn(Trainer<T>& trainer, const Path& partial) const;
  Status Finish(Manifest manifest, const Path& partial);

  Path dir_;
  int64_t keep_;
};

}  // namespace hadal::train
