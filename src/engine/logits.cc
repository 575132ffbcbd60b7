#include "engine/logits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/cpu_info.h"
#include "engine/generate.h"
#include "engine/logit_scan.h"

namespace hadal {
namespace {

// Rows of logits in a step: more than this gains nothing, and a row of 129,280 is half a megabyte.
constexpr int64_t kStepLogitBytes = int64_t{64} << 20;

int64_t Length(const std::vector<int32_t>& ids) { return static_cast<int64_t>(ids.size()); }

int64_t LongestWithContinuation(const LogitsRequest& request) {
  int64_t longest = 0;
  for (const auto& ids : request.ids) longest = std::max(longest, Length(ids));
  return longest + request.greedy;
}

/// Copies the residual stream after each layer to where its sequence wants it, while a step runs.
class HiddenCollector : public ForwardObserver {
 public:
  HiddenCollector(const Engine& engine, std::span<const Sequence> sequences,
                  std::vector<SequenceLogits>& results)
      : engine_(engine), sequences_(sequences), results_(results) {}

  void OnTensor(std::string_view name, int64_t layer, View<const float> values) override {
    if (name != "hidden" || layer < 0) return;
    for (const Run& run : engine_.step().runs) {
      const auto owner = std::find_if(sequences_.begin(), sequences_.end(), [&](const Sequence& s) {
        return s.block_table.data() == run.block_table;
      });
      HADAL_CHECK(owner != sequences_.end(), "a run of no sequence");
      Copy(run, *owner, results_[static_cast<size_t>(owner - sequences_.begin())], layer, values);
    }
  }
  void OnRoutes(int64_t, View<const int32_t>, View<const float>) override {}

 private:
  void Copy(const Run& run, const Sequence& s, SequenceLogits& result, int64_t layer,
            View<const float> values) {
    const int64_t first = s.length() - result.positions;
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t position = run.first_position + i;
      if (position < first) continue;
      Buffer<float>& hidden = result.hidden[static_cast<size_t>(layer)];
      std::copy_n(values.row(run.first_row + i), values.cols,
                  hidden.data() + (position - first) * values.cols);
    }
  }

  const Engine& engine_;
  std::span<const Sequence> sequences_;
  std::vector<SequenceLogits>& results_;
};

/// One request while it runs.
class LogitsRun {
 public:
  LogitsRun(Engine& engine, const LogitsRequest& request) : engine_(engine), request_(request) {}
  Status Allocate();
  Status ComputeGiven();
  Status Continue();
  void ReleaseBlocks() {
    for (Sequence& s : sequences_) engine_.blocks().Release(s.block_table);
  }
  std::vector<SequenceLogits> TakeResults() { return std::move(results_); }

 private:
  void PlanStep(std::vector<Slice>& slices);
  Status CopyLogits(std::span<const Slice> slices, View<const float> step_logits);
  Status Report(int64_t computed);
  int64_t FirstWanted(const Sequence& s) const { return s.length() - ResultOf(s).positions; }
  const SequenceLogits& ResultOf(const Sequence& s) const {
    return results_[static_cast<size_t>(&s - sequences_.data())];
  }

  Engine& engine_;
  const LogitsRequest& request_;
  std::vector<Sequence> sequences_;
  std::vector<SequenceLogits> results_;
  int64_t done_ = 0;  // tokens computed
};

Status LogitsRun::Allocate() {
  const ModelConfig& config = engine_.config();
  for (size_t i = 0; i < request_.ids.size(); ++i) {
    Sequence s;
    s.tokens = request_.ids[i];
    s.prompt_length = s.length();
    // A token's form of attention follows from whether its index lies in the prompt.
    if (request_.attention == AttentionForm::kPlain) s.prompt_length = std::numeric_limits<int64_t>::max();
    if (request_.attention == AttentionForm::kAbsorbed) s.prompt_length = 0;
    sequences_.push_back(std::move(s));

    SequenceLogits result;
    result.positions = request_.Positions(i);
    ASSIGN_OR_RETURN(result.logits, Buffer<float>::Allocate(result.positions * config.vocab_size, "logits"));
    for (int64_t layer = 0; request_.hidden && layer < config.num_hidden_layers; ++layer) {
      ASSIGN_OR_RETURN(Buffer<float> hidden,
                       Buffer<float>::Allocate(result.positions * config.hidden_size, "hidden states"));
      result.hidden.push_back(std::move(hidden));
    }
    results_.push_back(std::move(result));
  }
  return {};
}

/// Shares the step's tokens and rows of logits among the sequences that have tokens left.
void LogitsRun::PlanStep(std::vector<Slice>& slices) {
  slices.clear();
  int64_t room = engine_.pass().limits().tokens, rows = engine_.pass().limits().logit_rows;
  int64_t waiting =
      std::count_if(sequences_.begin(), sequences_.end(), [](const Sequence& s) { return s.pending() > 0; });
  for (Sequence& s : sequences_) {
    if (s.pending() == 0) continue;
    const int64_t share = (room + waiting - 1) / waiting;
    --waiting;
    int64_t count = std::min(share, s.pending());
    int64_t wanted = std::clamp<int64_t>(s.computed + count - FirstWanted(s), 0, count);
    if (wanted > rows) {
      count -= wanted - rows;
      wanted = rows;
    }
    if (count <= 0) continue;
    slices.push_back({&s, count, wanted});
    room -= count;
    rows -= wanted;
  }
}

Status LogitsRun::CopyLogits(std::span<const Slice> slices, View<const float> step_logits) {
  for (const Slice& slice : slices) {
    const Sequence& s = *slice.sequence;
    for (int64_t index = s.computed - slice.logits; index < s.computed; ++index) {
      const float* row = step_logits.row(LogitRow(engine_.step(), s, index));
      for (int64_t id = 0; id < step_logits.cols; ++id)
        if (!std::isfinite(row[id]))
          return DataLoss("the logit of id {} at position {} is {}; the weights are corrupt or overflow", id, index, row[id]);
      std::copy_n(row, step_logits.cols, ResultOf(s).logits.data() + (index - FirstWanted(s)) * step_logits.cols);
    }
  }
  return {};
}

Status LogitsRun::Report(int64_t computed) {
  done_ += computed;
  if (!request_.progress) return {};
  int64_t total = static_cast<int64_t>(sequences_.size()) * std::max<int64_t>(request_.greedy - 1, 0);
  for (const auto& ids : request_.ids) total += Length(ids);
  if (!request_.progress(done_, total))
    return MakeError(Code::kCancelled, "stopped after {} of {} tokens", done_, total);
  return {};
}

Status LogitsRun::ComputeGiven() {
  HiddenCollector collector(engine_, sequences_, results_);
  std::vector<Slice> slices;
  for (PlanStep(slices); !slices.empty(); PlanStep(slices)) {
    ASSIGN_OR_RETURN(const View<const float> logits,
                     engine_.RunStep(slices, request_.hidden ? &collector : nullptr));
    RETURN_IF_ERROR(CopyLogits(slices, logits));
    int64_t computed = 0;
    for (const Slice& slice : slices) computed += slice.count;
    RETURN_IF_ERROR(Report(computed));
  }
  return {};
}

Status LogitsRun::Continue() {
  const int64_t vocab = engine_.config().vocab_size;
  std::vector<Sequence*> all;
  std::vector<float> logits;  // [sequences, vocab], of each sequence's last token
  for (Sequence& s : sequences_) {
    all.push_back(&s);
    const float* last = ResultOf(s).logits.data() + (ResultOf(s).positions - 1) * vocab;
    logits.insert(logits.end(), last, last + vocab);
  }
  for (int64_t n = 0; n < request_.greedy; ++n) {
    if (n > 0) {
      RETURN_IF_ERROR(Prefill(engine_, all, logits));
      RETURN_IF_ERROR(Report(static_cast<int64_t>(all.size())));
    }
    for (size_t i = 0; i < sequences_.size(); ++i) {
      Sequence& s = sequences_[i];
      const std::span<const float> row(logits.data() + static_cast<int64_t>(i) * vocab,
                                       static_cast<size_t>(vocab));
      ASSIGN_OR_RETURN(const BestLogit best, FindBest(row, static_cast<uint64_t>(s.length())));
      results_[i].greedy.push_back(best.id);
      s.tokens.push_back(best.id);
    }
  }
  return {};
}

}  // namespace

int64_t LogitsRequest::Positions(size_t i) const {
  const int64_t length = Length(ids[i]);
  return last > 0 ? std::min(last, length) : length;
}

Status CheckLogitsRequest(const ModelConfig& config, const LogitsRequest& request) {
  if (request.ids.empty()) return InvalidArgument("no ids are given");
  if (request.last < 0 || request.greedy < 0)
    return InvalidArgument("numbers of positions and tokens are 0 or more, and {} and {} are asked for",
                           request.last, request.greedy);
  for (size_t i = 0; i < request.ids.size(); ++i) {
    if (request.ids[i].empty()) return InvalidArgument("sequence {} has no ids", i);
    for (size_t j = 0; j < request.ids[i].size(); ++j)
      if (const int32_t id = request.ids[i][j]; id < 0 || id >= config.vocab_size)
        return InvalidArgument(
            "id {} at place {} of sequence {} is outside the vocabulary, which has ids 0 to {}", id, j, i,
            config.vocab_size - 1);
    const int64_t length = Length(request.ids[i]);
    if (length > config.max_position_embeddings || request.greedy > config.max_position_embeddings - length)
      return InvalidArgument(
          "sequence {} has {} tokens and {} more are asked for; the model has {} positions", i, length,
          request.greedy, config.max_position_embeddings);
  }
  return {};
}

uint64_t LogitsResultBytes(const ModelConfig& config, const LogitsRequest& request) {
  uint64_t positions = 0;
  for (size_t i = 0; i < request.ids.size(); ++i) positions += static_cast<uint64_t>(request.Positions(i));
  uint64_t row = static_cast<uint64_t>(config.vocab_size);
  if (request.hidden) row += static_cast<uint64_t>(config.num_hidden_layers * config.hidden_size);
  return positions * row * sizeof(float);
}

EngineOptions LogitsEngineOptions(EngineOptions options, const ModelConfig& config,
                                  const LogitsRequest& request) {
  options.sequences = static_cast<int64_t>(request.ids.size());
  if (options.context == 0) options.context = LongestWithContinuation(request);
  int64_t wanted = 0;
  for (size_t i = 0; i < request.ids.size(); ++i) wanted += request.Positions(i);
  const int64_t affordable =
      std::max<int64_t>(kStepLogitBytes / (config.vocab_size * int64_t{sizeof(float)}), 1);
  // The continuation takes a row of every sequence in each step.
  options.logit_rows = std::max(std::min(wanted, affordable), options.sequences);
  return options;
}

Result<std::vector<SequenceLogits>> ComputeLogits(Engine& engine, const LogitsRequest& request) {
  RETURN_IF_ERROR(CheckLogitsRequest(engine.config(), request));
  if (const int64_t longest = LongestWithContinuation(request); longest > engine.context())
    return InvalidArgument(
        "the longest sequence has {} tokens with its continuation and the context is {}; raise "
        "--context or leave it out",
        longest, engine.context());
  const uint64_t bytes = LogitsResultBytes(engine.config(), request), available = AvailableMemoryBytes();
  if (bytes > available)
    return ResourceExhausted(
        "the results take {} bytes of memory and {} are available; ask for fewer positions "
        "(--last)",
        bytes, available);
  LogitsRun run(engine, request);
  RETURN_IF_ERROR(run.Allocate());
  Status status = run.ComputeGiven();
  if (status) status = run.Continue();
  run.ReleaseBlocks();
  if (!status) return tl::unexpected(std::move(status).error());
  return run.TakeResults();
}

}  // namespace hadal
