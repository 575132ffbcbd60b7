#include "train/data/loader.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <new>

#include "base/check.h"

namespace hadal::train {
namespace {

using Clock = std::chrono::steady_clock;

/// A micro-batch of the given sequences; an empty one is all filling.
MicroBatch BuildBatch(const TokenDataset& data, int64_t length,
                      std::span<const std::span<const DocumentPiece>> sequences) {
  const size_t rows = sequences.size() * static_cast<size_t>(length);
  std::vector<int32_t> tokens(rows);
  std::vector<uint8_t> starts(rows), learn(rows);
  for (size_t s = 0; s < sequences.size(); ++s) {
    auto at = static_cast<int64_t>(s) * length;
    const int64_t end = at + length;
    for (const DocumentPiece& piece : sequences[s]) {
      const TokenDataset::Document document = data.document(piece.document);
      const int64_t count =
          std::min<int64_t>(static_cast<int64_t>(document.tokens.size()) - piece.first, end - at);
      for (int64_t t = 0; t < count; ++t) {
        tokens[at + t] = document.tokens[piece.first + t];
        learn[at + t] = (document.flags[piece.first + t] & kLearnt) != 0;
      }
      starts[at] = 1;
      at += count;
    }
    if (at < end) starts[at] = 1;
  }
  return MakeMicroBatch(tokens, starts, learn, length);
}

Status Check(const LoaderOptions& o) {
  if (o.sequence_length < 2 || o.micro_batch_size < 1 || o.own_micro_batches < 1 || o.first_micro_batch < 0 ||
      o.first_micro_batch + o.own_micro_batches > o.micro_batches || o.prefetch < 1 || o.prefetch > 1024)
    return InvalidArgument(
        "sequences of {} tokens, {} in a micro-batch, micro-batches {} to {} of {}, {} updates ahead "
        "(expected 1 to 1024)",
        o.sequence_length, o.micro_batch_size, o.first_micro_batch, o.first_micro_batch + o.own_micro_batches,
        o.micro_batches, o.prefetch);
  return {};
}

}  // namespace

std::string DataCursor::Text() const {
  return fmt::format("epoch {} sequence {} length {} seed {} data {:016x}", epoch, sequence, length, seed,
                     fingerprint);
}

Result<DataCursor> DataCursor::Parse(std::string_view text) {
  DataCursor c;
  unsigned long long epoch, seed, data;
  long long sequence, length;
  if (std::sscanf(std::string(text).c_str(), "epoch %llu sequence %lld length %lld seed %llu data %llx",
                  &epoch, &sequence, &length, &seed, &data) != 5 ||
      sequence < 0)
    return DataLoss("'{}' is no cursor in training data", text.substr(0, 100));
  c.epoch = epoch;
  c.sequence = sequence;
  c.length = length;
  c.seed = seed;
  c.fingerprint = data;
  if (c.Text() != text) return DataLoss("'{}' is no cursor in training data", text.substr(0, 100));
  return c;
}

Result<std::unique_ptr<DataLoader>> DataLoader::Create(const TokenDataset& data,
                                                       const LoaderOptions& options) {
  RETURN_IF_ERROR(Check(options));
  RETURN_IF_ERROR(EpochPlan::Check(data.documents(), data.tokens(), options.sequence_length));
  return std::unique_ptr<DataLoader>(new DataLoader(data, options));
}

uint64_t DataLoader::PlannedBytes(const LoaderOptions& o) {
  const int64_t tokens = o.own_micro_batches * o.micro_batch_size * o.sequence_length;
  return static_cast<uint64_t>(tokens * (o.prefetch + 2)) * MicroBatch::kBytesPerToken;
}

DataLoader::DataLoader(const TokenDataset& data, const LoaderOptions& options)
    : data_(data), options_(options) {
  given_.length = options.sequence_length;
  given_.seed = options.seed;
  given_.fingerprint = data.fingerprint();
}

DataLoader::~DataLoader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  room_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status DataLoader::Seek(const DataCursor& cursor) {
  HADAL_CHECK(!thread_.joinable(), "the loader has begun");
  if (cursor.fingerprint != data_.fingerprint())
    return InvalidArgument(
        "the run was on other data (fingerprint {:016x}) than this folder ({:016x}); give the data it "
        "was made with, or start anew",
        cursor.fingerprint, data_.fingerprint());
  if (cursor.seed != options_.seed)
    return InvalidArgument("the run shuffled its data with seed {}, this one has {}; a run keeps its seed",
                           cursor.seed, options_.seed);
  if (cursor.length != options_.sequence_length)
    return InvalidArgument(
        "the run cut its data into sequences of {0} tokens, this one has {1}, and its place in the data "
        "would mean another; give sequence_length {0}, or begin a new run from its model",
        cursor.length, options_.sequence_length);
  given_ = cursor;
  return {};
}

DataLoader::Made DataLoader::Make() {
  Made made;
  std::vector<std::span<const DocumentPiece>> sequences;
  std::vector<std::unique_ptr<EpochPlan>> finished;  // whose pieces are still looked at
  for (int64_t m = 0; m < options_.micro_batches; ++m) {
    sequences.clear();
    finished.clear();
    for (int64_t s = 0; s < options_.micro_batch_size; ++s) {
      if (!plan_ || reading_.sequence >= plan_->sequences()) {
        if (plan_) {
          finished.push_back(std::move(plan_));
          ++reading_.epoch;
          reading_.sequence = 0;
        }
        plan_ =
            std::make_unique<EpochPlan>(data_, options_.sequence_length, options_.seed, reading_.epoch, true);
        // A cursor of an epoch's very end is the next one's beginning.
        if (reading_.sequence >= plan_->sequences()) {
          --s;
          continue;
        }
      }
      sequences.push_back(plan_->sequence(reading_.sequence++));
    }
    if (m >= options_.first_micro_batch && m < options_.first_micro_batch + options_.own_micro_batches)
      made.batches.push_back(BuildBatch(data_, options_.sequence_length, sequences));
  }
  made.after = reading_;
  made.epochs = static_cast<double>(reading_.epoch) +
                static_cast<double>(reading_.sequence) / static_cast<double>(plan_->sequences());
  return made;
}

Result<DataLoader::Made> DataLoader::TryMake() {
  try {
    return Make();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("memory ran out while data was made ready; lower prefetch or micro_batch_size");
  } catch (const std::exception& error) {
    return Internal("data could not be made ready: {}", error.what());
  }
}

void DataLoader::Main() {
  for (bool failed = false; !failed;) {
    Result<Made> made = TryMake();
    failed = !made;
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return stopping_ || static_cast<int64_t>(made_.size()) < options_.prefetch; });
    if (stopping_) return;
    if (failed) failed_ = tl::unexpected(made.error());
    else made_.push_back(*std::move(made));
    ready_.notify_one();
  }
}

Result<std::vector<MicroBatch>> DataLoader::Next() {
  if (!thread_.joinable()) {
    reading_ = given_;
    thread_ = std::thread([this] { Main(); });
  }
  const Clock::time_point start = Clock::now();
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [&] { return !made_.empty() || !failed_; });
  waited_ += std::chrono::duration<double>(Clock::now() - start).count();
  if (made_.empty()) return tl::unexpected(failed_.error());
  Made made = std::move(made_.front());
  made_.pop_front();
  room_.notify_one();
  given_ = made.after;
  epochs_ = made.epochs;
  return std::move(made.batches);
}

DataCursor DataLoader::cursor() const { return given_; }
double DataLoader::epochs() const { return epochs_; }

EvaluationSet::EvaluationSet(const TokenDataset& data, const LoaderOptions& options)
    : data_(data), options_(options), plan_(data, options.sequence_length, 0, 0, false) {}

int64_t EvaluationSet::updates() const {
  const int64_t per_update = options_.micro_batches * options_.micro_batch_size;
  return (plan_.sequences() + per_update - 1) / per_update;
}

std::vector<MicroBatch> EvaluationSet::update(int64_t i) const {
  std::vector<MicroBatch> batches;
  for (int64_t m = 0; m < options_.own_micro_batches; ++m) {
    std::vector<std::span<const DocumentPiece>> sequences;
    for (int64_t s = 0; s < options_.micro_batch_size; ++s) {
      const int64_t at =
          ((i * options_.micro_batches) + options_.first_micro_batch + m) * options_.micro_batch_size + s;
      sequences.push_back(at < plan_.sequences() ? plan_.sequence(at) : std::span<const DocumentPiece>());
    }
    batches.push_back(BuildBatch(data_, options_.sequence_length, sequences));
  }
  return batches;
}

}  // namespace hadal::train
