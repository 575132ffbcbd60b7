#include "train/data/tokenizer_trainer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <mutex>

#include "base/thread_pool.h"
#include "text/jinja/text_form.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"
#include "train/data/chat_line.h"
#include "train/data/input_files.h"
#include "train/data/tokenizer_files.h"

namespace hadal::train {
namespace {

constexpr uint64_t kUnitBytes = uint64_t{1} << 20;
constexpr size_t kMaxPieces = size_t{1} << 24;  // distinct ones: a few GB of tables

Status CheckPieces(const PieceCounts& counts) {
  if (counts.size() <= kMaxPieces) return {};
  return ResourceExhausted(
      "the inputs have more than {} different words; train the tokenizer on a part of them", kMaxPieces);
}

/// The texts that a line of JSONL has in it.
Result<std::vector<std::string>> TextsOfLine(std::string_view json) {
  auto parsed = jinja::ParseJson(json);
  if (!parsed) return InvalidArgument("not JSON: {}", parsed.error().message);
  if (!parsed->is(jinja::Kind::kDict)) return InvalidArgument("it is no JSON object");
  const jinja::Dict& object = parsed->as_dict();
  if (const jinja::Value* text = object.Find("text")) {
    if (!text->is_string()) return InvalidArgument("'text' is no text");
    return std::vector<std::string>{text->as_string()};
  }
  if (!object.Find("messages")) return InvalidArgument("it has neither 'text' nor 'messages'");
  ASSIGN_OR_RETURN(const ChatInput chat, ParseChatLine(object));
  std::vector<std::string> texts;
  for (const ChatMessage& message : chat.messages) {
    texts.push_back(message.content.value_or(""));
    texts.push_back(message.reasoning.value_or(""));
    for (const ChatMessage::Call& call : message.calls) {
      texts.push_back(call.name);
      texts.push_back(call.arguments);
    }
  }
  for (const jinja::Value& tool : chat.tools) {
    jinja::Runtime runtime({}, [] { return std::time_t{0}; });
    ASSIGN_OR_RETURN(std::string description, jinja::ToJson(runtime, *tool.as_dict().Find("function"), {}));
    texts.push_back(std::move(description));
  }
  return texts;
}

/// Counts the pieces of all texts, each thread its own; sums do not depend on who counted what.
class PieceCounter {
 public:
  PieceCounter(const TokenizerTrainerOptions& options, const std::vector<InputFile>& files,
               const PreTokenizer& pre_tokenizer)
      : options_(options),
        files_(files),
        pre_tokenizer_(pre_tokenizer),
        units_(CutInputs(files, TextDocuments::kFile, kUnitBytes)),
        counts_(static_cast<size_t>(options.threads)) {
    for (const InputFile& file : files) total_bytes_ += file.bytes;
  }

  Result<PieceCounts> Run() {
    ThreadPool pool(options_.threads);
    pool.For(static_cast<int64_t>(units_.size()), [&](int64_t unit, int worker) {
      if (unit > failed_unit_.load()) return;
      const Status counted = CountUnit(units_[unit], counts_[worker]);
      if (!counted) Fail(unit, counted.error());
    });
    if (failed_unit_.load() < INT64_MAX) return tl::unexpected(error_);
    PieceCounts all = std::move(counts_[0]);
    for (size_t i = 1; i < counts_.size(); ++i) {
      for (const auto& [piece, count] : counts_[i]) all[piece] += count;
      counts_[i].clear();
    }
    RETURN_IF_ERROR(CheckPieces(all));
    return all;
  }

  uint64_t text_bytes() const { return text_bytes_; }
  int64_t skipped() const { return skipped_; }

 private:
  void Fail(int64_t unit, const Error& error) {
    const std::lock_guard lock(mutex_);
    if (unit >= failed_unit_.load()) return;
    failed_unit_.store(unit);
    error_ = error;
  }

  Status CountUnit(const InputUnit& unit, PieceCounts& counts) {
    for (const InputPiece& piece : unit) {
      const InputFile& file = files_[piece.file];
      ASSIGN_OR_RETURN(const MappedFile map, MappedFile::Open(file.path));
      const std::string_view text(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
      if (text.size() != file.bytes) return DataLoss("{} changed while it was read", file.path.string());
      for (const SourceDocument& document : DocumentsOf(text, piece, file.is_json, TextDocuments::kFile)) {
        const Status counted = CountDocument(document.text, file.is_json, counts);
        if (counted) continue;
        if (!options_.skip_bad) {
          const auto line = 1 + std::ranges::count(text.substr(0, document.offset), '\n');
          return MakeError(counted.error().code, "{}:{}: {}", file.path.string(), line,
                           counted.error().message);
        }
        const std::lock_guard lock(mutex_);
        ++skipped_;
      }
      RETURN_IF_ERROR(map.StillSame());
      RETURN_IF_ERROR(Advance(piece.end - piece.begin));
    }
    return {};
  }

  Status CountDocument(std::string_view document, bool is_json, PieceCounts& counts) {
    if (!is_json) return CountText(document, counts);
    ASSIGN_OR_RETURN(const std::vector<std::string> texts, TextsOfLine(document));
    for (const std::string& text : texts) RETURN_IF_ERROR(CountText(text, counts));
    return {};
  }

  Status CountText(std::string_view text, PieceCounts& counts) {
    if (text.size() > Tokenizer::kMaxTextBytes)
      return ResourceExhausted("the text has {} bytes; at most {} are taken", text.size(),
                               Tokenizer::kMaxTextBytes);
    const std::string repaired = RepairUtf8(text);
    RegexRun run(repaired.size());
    PreTokenizer::Pieces pieces;
    RETURN_IF_ERROR(pre_tokenizer_.Split(repaired, run, pieces));
    for (const std::string_view piece : pieces.views)
      ++counts[std::string(piece.substr(0, kMaxTrainedPiece))];
    RETURN_IF_ERROR(CheckPieces(counts));
    const std::lock_guard lock(mutex_);
    text_bytes_ += repaired.size();
    return {};
  }

  Status Advance(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_bytes_ += bytes;
    if (options_.progress && !options_.progress("counting", done_bytes_, total_bytes_))
      return Cancelled("interrupted; nothing was written");
    return {};
  }

  const TokenizerTrainerOptions& options_;
  const std::vector<InputFile>& files_;
  const PreTokenizer& pre_tokenizer_;
  const std::vector<InputUnit> units_;
  std::vector<PieceCounts> counts_;  // [threads]
  uint64_t total_bytes_ = 0;

  std::mutex mutex_;  // of what follows
  uint64_t done_bytes_ = 0, text_bytes_ = 0;
  int64_t skipped_ = 0;
  Error error_{Code::kInternal, ""};
  std::atomic<int64_t> failed_unit_{INT64_MAX};
};

Result<std::vector<SpecialToken>> SpecialTokensOf(const TokenizerTrainerOptions& options) {
  std::vector<SpecialToken> tokens = DefaultSpecialTokens();
  for (const std::string& more : options.special) {
    if (more.size() < 2 || RepairUtf8(more) != more)
      return InvalidArgument("the special token '{}' is not at least two bytes of UTF-8", RepairUtf8(more));
    if (std::ranges::any_of(tokens, [&](const SpecialToken& token) { return token.content == more; }))
      return InvalidArgument("the special token '{}' is there already", more);
    tokens.push_back({more, false});
  }
  return tokens;
}

Status CheckOptions(const TokenizerTrainerOptions& options, size_t special) {
  const auto least = static_cast<int64_t>(256 + special);
  if (options.vocab_size < least || options.vocab_size > kMaxTokens)
    return InvalidArgument("a vocabulary of {}, expected {} (the bytes and special tokens) to {}",
                           options.vocab_size, least, kMaxTokens);
  if (options.digits < 1 || options.digits > 3 || options.min_count < 1 || options.threads < 1)
    return InvalidArgument(
        "{} digits in a piece (expected 1 to 3), pairs of {} at least (expected 1), {} threads (expected 1)",
        options.digits, options.min_count, options.threads);
  if (!options.chat_template.empty()) {
    const auto parsed = ChatTemplate::Parse(options.chat_template);
    if (!parsed) return tl::unexpected(parsed.error());
  }
  return {};
}

Status MakeFolder(const Path& folder) {
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (error || !std::filesystem::is_directory(folder, error))
    return Unavailable("cannot make the folder {}: {}", folder.string(),
                       error ? error.message() : "a file has the name");
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    // A model's config.json may be there first; weights may not, since they belong to another tokenizer.
    const bool may_stay = std::ranges::any_of(
        std::array{"tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"},
        [&](const char* known) { return name.starts_with(known); });
    if (!may_stay)
      return FailedPrecondition("{} has other files in it ({}); take a new folder", folder.string(), name);
  }
  return {};
}

}  // namespace

Result<TokenizerReport> TrainTokenizer(const TokenizerTrainerOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<SpecialToken> special, SpecialTokensOf(options));
  RETURN_IF_ERROR(CheckOptions(options, special.size()));
  ASSIGN_OR_RETURN(const std::vector<InputFile> files, ListInputs(options.inputs));
  RETURN_IF_ERROR(MakeFolder(options.out));
  // Text is cut by the file that will be written, so that training and use agree.
  BpeTrainerOptions bpe{.tokens = 256, .min_count = options.min_count, .forbidden = {}, .progress = {}};
  for (const SpecialToken& token : special) bpe.forbidden.push_back(token.content);
  ASSIGN_OR_RETURN(const TrainedBpe bytes, TrainBpe({}, bpe));
  ASSIGN_OR_RETURN(const TokenizerParts parts,
                   ParseTokenizerJson(TokenizerJsonText(bytes, special, options.digits)));
  PieceCounter counter(options, files, parts.pre_tokenizer);
  ASSIGN_OR_RETURN(const PieceCounts pieces, counter.Run());
  if (pieces.empty()) return InvalidArgument("the inputs hold no text");
  bpe.tokens = options.vocab_size - static_cast<int64_t>(special.size());
  if (options.progress)
    bpe.progress = [&](uint64_t done, uint64_t total) { return options.progress("merging", done, total); };
  ASSIGN_OR_RETURN(const TrainedBpe trained, TrainBpe(pieces, bpe));
  const std::string_view chat_template =
      options.chat_template.empty() ? DefaultChatTemplate() : options.chat_template;
  RETURN_IF_ERROR(WriteFileAtomic(options.out / "tokenizer_config.json", TokenizerConfigText(chat_template)));
  RETURN_IF_ERROR(
      WriteFileAtomic(options.out / "tokenizer.json", TokenizerJsonText(trained, special, options.digits)));
  TokenizerReport report;
  report.vocab_size = static_cast<int64_t>(trained.tokens.size() + special.size());
  report.merges = static_cast<int64_t>(trained.merges.size());
  for (const auto& [piece, count] : pieces) report.pieces += count;
  report.distinct_pieces = static_cast<int64_t>(pieces.size());
  report.text_bytes = counter.text_bytes();
  report.skipped = counter.skipped();
  return report;
}

}  // namespace hadal::train
