#include "train/data/prepare.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/checksum.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "train/data/document_encoder.h"
#include "train/data/prepare_folder.h"

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMostUnitBytes = uint64_t{8} << 20, kLeastUnitBytes = uint64_t{128} << 10;
constexpr size_t kExamples = 5;
constexpr uint64_t kProgressBytes = 64 << 10;

const char* NameOf(TextDocuments documents) {
  switch (documents) {
    case TextDocuments::kFile:
      return "file";
    case TextDocuments::kBlankLines:
      return "blank-lines";
    case TextDocuments::kFormFeeds:
      return "form-feeds";
  }
  return "";
}

uint64_t TotalBytes(const std::vector<InputFile>& files) {
  uint64_t total = 0;
  for (const InputFile& file : files) total += file.bytes;
  return total;
}

uint64_t UnitBytes(const PrepareOptions& options, uint64_t total) {
  if (options.unit_bytes > 0) return options.unit_bytes;
  return std::clamp(total / 32, kLeastUnitBytes, kMostUnitBytes);
}

Json PlanOf(const PrepareOptions& options, const std::vector<InputFile>& files,
            const DocumentEncoder& encoder, uint64_t unit_bytes) {
  Json inputs = Json::array();
  for (const InputFile& file : files) inputs.push_back({{"path", file.path.string()}, {"bytes", file.bytes}});
  return {{"format", 1},
          {"tokenizer", encoder.fingerprint()},
          {"chat_template", encoder.style_fingerprint()},
          {"text_documents", NameOf(options.text_documents)},
          {"held_out_share", options.held_out_share},
          {"seed", options.seed},
          {"skip_bad", options.skip_bad},
          {"unit_bytes", unit_bytes},
          {"inputs", inputs}};
}

uint64_t ChecksumOf(std::string_view text) {
  Checksum sum;
  sum.Add(std::as_bytes(std::span(text)));
  return sum.value();
}

void AddTo(Checksum& sum, const std::vector<SourceDocument>& documents) {
  for (const SourceDocument& document : documents) {
    const uint64_t one = ChecksumOf(document.text);
    sum.Add(std::as_bytes(std::span(&one, 1)));
  }
}

/// Nothing is written of nothing.
Result<std::optional<UnitRecord::Part>> WriteShard(const Path& path, const TokenDocuments& documents) {
  if (documents.tokens.empty()) return std::nullopt;
  UnitRecord::Part part;
  part.learnt_tokens =
      std::ranges::count_if(documents.flags, [](uint8_t flag) { return (flag & kLearnt) != 0; });
  ASSIGN_OR_RETURN(part.shard, WriteTokenShard(path, documents.tokens, documents.flags));
  return part;
}

class Preparation {
 public:
  Preparation(const PrepareOptions& options, const std::vector<InputFile>& files,
              const DocumentEncoder& encoder, const PrepareFolder& folder, uint64_t unit_bytes)
      : options_(options),
        files_(files),
        encoder_(encoder),
        folder_(folder),
        units_(CutInputs(files, options.text_documents, unit_bytes)),
        records_(units_.size()),
        reused_(units_.size()),
        total_bytes_(TotalBytes(files)) {}

  Status Run() {
    ThreadPool pool(options_.threads);
    pool.For(static_cast<int64_t>(units_.size()), [&](int64_t unit, int) {
      if (unit > failed_unit_.load() || cancelled_.load()) return;
      const Status done = RunUnit(unit);
      if (!done) Fail(unit, done.error());
    });
    if (failed_unit_.load() < kNone) return tl::unexpected(error_);
    if (cancelled_.load()) return Cancelled("interrupted; run it again to go on where it was");
    return {};
  }

  Status WriteIndexes() const {
    TokenIndex training{encoder_.tokenizer().vocab_size(), encoder_.fingerprint(), {}}, held_out = training;
    for (const UnitRecord& record : records_) {
      if (record.training) training.shards.push_back(record.training->shard);
      if (record.held_out) held_out.shards.push_back(record.held_out->shard);
    }
    if (training.shards.empty()) return InvalidArgument("the inputs hold no document to train on");
    if (!held_out.shards.empty()) RETURN_IF_ERROR(WriteTokenIndex(folder_.held_out(), held_out));
    return WriteTokenIndex(folder_.out(), training);
  }

  PrepareReport Report() const {
    PrepareReport report;
    report.units = static_cast<int64_t>(units_.size());
    report.reused_units = std::ranges::count(reused_, uint8_t{1});
    report.input_bytes = total_bytes_;
    const auto add = [](const std::optional<UnitRecord::Part>& part, PrepareCounts& counts) {
      if (!part) return;
      counts.documents += part->shard.documents;
      counts.tokens += part->shard.tokens;
      counts.learnt_tokens += part->learnt_tokens;
      ++counts.shards;
    };
    for (const UnitRecord& record : records_) {
      add(record.training, report.training);
      add(record.held_out, report.held_out);
      report.skipped += record.skipped;
      for (const std::string& example : record.skipped_examples)
        if (report.skipped_examples.size() < kExamples) report.skipped_examples.push_back(example);
    }
    return report;
  }

 private:
  static constexpr int64_t kNone = INT64_MAX;

  void Fail(int64_t unit, const Error& error) {
    const std::lock_guard lock(mutex_);
    if (error.code == Code::kCancelled) return cancelled_.store(true);
    // The first by its place, whichever came first: units before it go on to their end.
    if (unit >= failed_unit_.load()) return;
    failed_unit_.store(unit);
    error_ = error;
  }

  Status RunUnit(int64_t unit) {
    UnitRecord& record = records_[unit];
    if (auto finished = folder_.Finished(unit)) {
      ASSIGN_OR_RETURN(const uint64_t checksum, ChecksumOfUnit(units_[unit]));
      if (finished->input_checksum == checksum) {
        record = *std::move(finished);
        reused_[unit] = 1;
        for (const InputPiece& piece : units_[unit]) RETURN_IF_ERROR(Advance(piece.end - piece.begin));
        return {};
      }
    }
    TokenDocuments training, held_out;
    Checksum sum;
    for (const InputPiece& piece : units_[unit]) {
      ASSIGN_OR_RETURN(const MappedFile map, OpenInput(piece));
      const std::vector<SourceDocument> documents = Documents(piece, map);
      AddTo(sum, documents);
      RETURN_IF_ERROR(EncodePiece(piece, map, documents, training, held_out, record));
      RETURN_IF_ERROR(map.StillSame());
    }
    record.input_checksum = sum.value();
    const std::string name = TokenShardName(unit);
    ASSIGN_OR_RETURN(record.training, WriteShard(folder_.out() / name, training));
    ASSIGN_OR_RETURN(record.held_out, WriteShard(folder_.held_out() / name, held_out));
    return folder_.Save(unit, record);
  }

  Result<uint64_t> ChecksumOfUnit(const InputUnit& unit) const {
    Checksum sum;
    for (const InputPiece& piece : unit) {
      ASSIGN_OR_RETURN(const MappedFile map, OpenInput(piece));
      AddTo(sum, Documents(piece, map));
    }
    return sum.value();
  }

  Result<MappedFile> OpenInput(const InputPiece& piece) const {
    const InputFile& file = files_[piece.file];
    ASSIGN_OR_RETURN(MappedFile map, MappedFile::Open(file.path));
    if (map.bytes().size() != file.bytes)
      return DataLoss("{} changed while it was read: {} bytes at first, {} now", file.path.string(),
                      file.bytes, map.bytes().size());
    return map;
  }

  std::vector<SourceDocument> Documents(const InputPiece& piece, const MappedFile& map) const {
    return DocumentsOf(TextOf(map), piece, files_[piece.file].is_json, options_.text_documents);
  }

  Status EncodePiece(const InputPiece& piece, const MappedFile& map,
                     const std::vector<SourceDocument>& documents, TokenDocuments& training,
                     TokenDocuments& held_out, UnitRecord& record) {
    const InputFile& file = files_[piece.file];
    uint64_t told = piece.begin;
    for (const SourceDocument& document : documents) {
      if (document.offset >= told + kProgressBytes) {
        const uint64_t now = std::min(document.offset, piece.end);
        RETURN_IF_ERROR(Advance(now - told));
        told = now;
      }
      TokenDocuments& out = IsHeldOut(document.text) ? held_out : training;
      const Status encoded =
          file.is_json ? encoder_.EncodeLine(document.text, out) : encoder_.EncodeText(document.text, out);
      if (encoded) continue;
      const auto what = [&] {
        const auto line = 1 + std::ranges::count(TextOf(map).substr(0, document.offset), '\n');
        return fmt::format("{}:{}: {}", file.path.string(), line, encoded.error().message);
      };
      if (!options_.skip_bad) return MakeError(encoded.error().code, "{}", what());
      ++record.skipped;
      if (record.skipped_examples.size() < kExamples) record.skipped_examples.push_back(what());
    }
    return Advance(piece.end - told);
  }

  bool IsHeldOut(std::string_view document) const {
    if (options_.held_out_share <= 0) return false;
    const auto random = PhiloxAt(options_.seed, 0x68656c64, ChecksumOf(document));
    return UnitDouble(random[0], random[1]) < options_.held_out_share;
  }

  Status Advance(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_bytes_ += bytes;
    if (options_.progress && !options_.progress(done_bytes_, total_bytes_)) return Cancelled("interrupted");
    return {};
  }

  static std::string_view TextOf(const MappedFile& map) {
    return {reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size()};
  }

  const PrepareOptions& options_;
  const std::vector<InputFile>& files_;
  const DocumentEncoder& encoder_;
  const PrepareFolder& folder_;
  const std::vector<InputUnit> units_;
  std::vector<UnitRecord> records_;  // [units]
  std::vector<uint8_t> reused_;      // [units]
  const uint64_t total_bytes_;

  std::mutex mutex_;  // of progress and errors
  uint64_t done_bytes_ = 0;
  Error error_{Code::kInternal, ""};
  std::atomic<int64_t> failed_unit_{kNone};
  std::atomic<bool> cancelled_{false};
};

Status CheckOptions(const PrepareOptions& options) {
  if (options.threads < 1) return InvalidArgument("{} threads, expected at least 1", options.threads);
  if (!(options.held_out_share >= 0 && options.held_out_share < 1))
    return InvalidArgument("a held-out share of {}, expected 0 up to but not 1", options.held_out_share);
  if (options.inputs.empty()) return InvalidArgument("there are no inputs");
  std::error_code ignored;
  if (options.held_out_share > 0 &&
      (options.held_out.empty() || std::filesystem::weakly_canonical(options.held_out, ignored) ==
                                       std::filesystem::weakly_canonical(options.out, ignored)))
    return InvalidArgument("what is held out needs a folder of its own");
  return {};
}

}  // namespace

Result<PrepareReport> Prepare(const PrepareOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(const std::vector<InputFile> files, ListInputs(options.inputs));
  ASSIGN_OR_RETURN(const DocumentEncoder encoder, DocumentEncoder::Load(options.tokenizer));
  const uint64_t unit_bytes = UnitBytes(options, TotalBytes(files));
  ASSIGN_OR_RETURN(const PrepareFolder folder,
                   PrepareFolder::Open(options.out, options.held_out_share > 0 ? options.held_out : Path(),
                                       PlanOf(options, files, encoder, unit_bytes)));
  Preparation preparation(options, files, encoder, folder, unit_bytes);
  RETURN_IF_ERROR(preparation.Run());
  RETURN_IF_ERROR(preparation.WriteIndexes());
  return preparation.Report();
}

}  // namespace hadal::train
