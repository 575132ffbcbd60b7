#include "train/ops/cross_entropy.h"

#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

/// Weighted losses of tokens whose vocabulary lies in `shards` pieces, reduced as ranks would reduce them.
struct CrossEntropyOp {
  int64_t tokens, vocab, shards;
  double offset = 0;  // added to all logits

  std::vector<int32_t> targets() const {
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < tokens; ++t)
      ids.push_back(t % 5 == 4 ? -1 : static_cast<int32_t>(t * 13 % (vocab * shards)));
    return ids;
  }
  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const {
    Vectors<double> all;
    for (int64_t s = 0; s < shards; ++s) {
      all.push_back(Random(tokens * vocab, static_cast<uint64_t>(s) + 1));
      for (double& x : all.back()) x = x * 3 + offset;
    }
    return all;
  }
  int64_t outputs() const { return tokens; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const std::vector<int32_t> ids = targets();
    const size_t n = static_cast<size_t>(tokens);
    std::vector<T> top(n, -std::numeric_limits<T>::infinity()), sums(n, T{0}), hits(n, T{0}), one(n), two(n);
    for (int64_t s = 0; s < shards; ++s) {
      CrossEntropyMax<T>(ctx, In(inputs[static_cast<size_t>(s)], tokens, vocab), one);
      for (size_t t = 0; t < n; ++t) top[t] = std::max(top[t], one[t]);
    }
    for (int64_t s = 0; s < shards; ++s) {
      CrossEntropySums<T>(ctx, In(inputs[static_cast<size_t>(s)], tokens, vocab), ids, s * vocab, top, one,
                          two);
      for (size_t t = 0; t < n; ++t) {
        sums[t] += one[t];
        hits[t] += two[t];
      }
    }
    OpResult<T> result;
    result.gradients = inputs;
    result.output.resize(n);
    for (int64_t s = 0; s < shards; ++s)
      CrossEntropyFinish<T>(ctx, ids, s * vocab, top, sums, hits, upstream,
                            View<T>(result.gradients[static_cast<size_t>(s)].data(), tokens, vocab),
                            result.output);
    return result;
  }
};

TEST(CrossEntropy, GradientsPrecisionAndThreads) {
  for (const CrossEntropyOp& op :
       {CrossEntropyOp{1, 2, 1}, CrossEntropyOp{23, 37, 1}, CrossEntropyOp{130, 131, 3}}) {
    SCOPED_TRACE(testing::Message() << op.tokens << " tokens, " << op.shards << " of " << op.vocab);
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).All(2e-6));
  }
}

TEST(CrossEntropy, IsTheFormulaHoweverLargeTheLogits) {
  const CrossEntropyOp op{10, 7, 2, 1e4};
  const OpResult<double> got = OpChecks(op).Run<double>(1, Compute::kF64);
  const Vectors<double> x = op.inputs();
  for (size_t t = 0; t < 10; ++t) {
    const int32_t target = op.targets()[t];
    double sum = 0, hit = 0;
    for (size_t v = 0; v < 14; ++v) {
      const double logit = x[v / 7][t * 7 + v % 7] - 1e4;
      sum += std::exp(logit);
      if (static_cast<int32_t>(v) == target) hit = logit;
    }
    EXPECT_NEAR(got.output[t], target < 0 ? 0 : std::log(sum) - hit, 1e-11) << "token " << t;
    for (size_t v = 0; target < 0 && v < 14; ++v) EXPECT_EQ(got.gradients[v / 7][t * 7 + v % 7], 0);
  }
}

TEST(CrossEntropy, NaNStaysVisible) {
  for (int64_t place : {0, 5, 16, 36}) {
    std::vector<float> logits = Cast<float>(Random(37, 1)), top(1), sums(1), hits(1), loss(1);
    logits[static_cast<size_t>(place)] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<int32_t> targets{3};
    const std::vector<float> weights{1};
    const TestContext context(1);
    CrossEntropyMax<float>(*context, In(logits, 1, 37), top);
    CrossEntropySums<float>(*context, In(logits, 1, 37), targets, 0, top, sums, hits);
    CrossEntropyFinish<float>(*context, targets, 0, top, sums, hits, weights,
                              View<float>(logits.data(), 1, 37), loss);
    EXPECT_TRUE(std::isnan(loss[0])) << place;
  }
}

}  // namespace
}  // namespace hadal::train
