// Micro-batches from token shards, made ahead by a thread of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "train/data/epoch_plan.h"
#include "train/layers/micro_batch.h"

namespace hadal::train {

struct LoaderOptions {
  int64_t sequence_length = 0;
  int64_t micro_batch_size = 1;   // sequences of a micro-batch
  int64_t micro_batches = 1;      // of an update, over all replicas
  int64_t first_micro_batch = 0;  // this replica's part of them
  int64_t own_micro_batches = 1;
  uint64_t seed = 0;
  int64_t prefetch = 3;  // updates that are made ahead
};

/// Where a run is in its data, and all that this depends on. The same for every mesh.
struct DataCursor {
  uint64_t epoch = 0;
  int64_t sequence = 0;  // the next one of the epoch
  int64_t length = 0;    // tokens of a sequence
  uint64_t seed = 0, fingerprint = 0;
  std::string Text() const;
  /// kDataLoss: no such text.
  static Result<DataCursor> Parse(std::string_view text);
};

/// Updates take sequences in the order of EpochPlan; micro-batch i of an update the i-th group of them,
/// whichever replica has it. A sequence's rest that no document fills is zeros that are not learnt.
class DataLoader {
 public:
  /// `data` must outlive the loader. kInvalidArgument: sizes that make no sense;
  /// kUnsupported: EpochPlan::Check.
  static Result<std::unique_ptr<DataLoader>> Create(const TokenDataset& data, const LoaderOptions& options);
  ~DataLoader();
  /// Bytes of the micro-batches that a rank holds at most: those made ahead, the ones being made and those
  /// being used.
  static uint64_t PlannedBytes(const LoaderOptions& options);

  /// Goes on from `cursor`, before the first Next. kInvalidArgument: of other data, another seed or another
  /// length.
  Status Seek(const DataCursor& cursor);
  /// This replica's micro-batches of the next update; waits for them if need be. Errors are those of the
  /// thread that makes them (no memory); they are final.
  Result<std::vector<MicroBatch>> Next();
  /// After the updates that Next has given.
  DataCursor cursor() const;
  double epochs() const;  // gone through, fractions included
  /// Seconds that Next has waited.
  double waited_seconds() const { return waited_; }

 private:
  struct Made {
    std::vector<MicroBatch> batches;
    DataCursor after;
    double epochs;
  };
  DataLoader(const TokenDataset& data, const LoaderOptions& options);
  void Main();
  /// What the standard library throws where memory ends becomes an error.
  Result<Made> TryMake();
  Made Make();

  const TokenDataset& data_;
  const LoaderOptions options_;
  DataCursor reading_;                // the thread's
  std::unique_ptr<EpochPlan> plan_;   // of reading_.epoch
  DataCursor given_;
  double epochs_ = 0, waited_ = 0;

  std::mutex mutex_;
  std::condition_variable room_, ready_;
  std::deque<Made> made_;
  Status failed_;  // the thread has ended with it
  bool stopping_ = false;
  std::thread thread_;
};

/// All sequences of a held-out folder once, in order, as updates of the same shape; the last one is filled
/// with sequences that are not learnt. Materialised as asked for.
class EvaluationSet {
 public:
  EvaluationSet(const TokenDataset& data, const LoaderOptions& options);
  int64_t updates() const;
  std::vector<MicroBatch> update(int64_t i) const;

 private:
  const TokenDataset& data_;
  const LoaderOptions options_;
  const EpochPlan plan_;
};

}  // namespace hadal::train
