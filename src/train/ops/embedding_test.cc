#include "train/ops/embedding.h"

#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

/// Rows [first, first + 9) of a table of 20; ids repeat and lie outside too.
struct EmbeddingOp {
  int64_t first, width;

  static constexpr int64_t kRows = 9, kTokens = 300;
  std::vector<int32_t> ids() const {
    std::vector<int32_t> ids;
    for (int32_t t = 0; t < kTokens; ++t) ids.push_back(t * 7 % 20);
    return ids;
  }
  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(kRows * width, 1)}; }
  int64_t outputs() const { return kTokens * width; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    OpResult<T> result;
    EmbeddingForward<T>(ctx, In(inputs[0], kRows, width), first, ids(), Out(result.output, kTokens, width));
    result.gradients.emplace_back(inputs[0].size(), T{0});
    EmbeddingBackward<T>(ctx, In(upstream, kTokens, width), first, ids(),
                         View<T>(result.gradients[0].data(), kRows, width));
    return result;
  }
};

TEST(Embedding, GradientsPrecisionAndThreads) {
  for (int64_t first : {0, 11}) ASSERT_NO_FATAL_FAILURE(OpChecks(EmbeddingOp{first, 131}).All(2e-6));
}

TEST(Embedding, ShardsAddUpToTheWhole) {
  const std::vector<int32_t> ids{3, 0, 5, 3};
  const std::vector<float> table = Cast<float>(Random(6 * 5, 1));
  std::vector<float> whole, low, high;
  const TestContext context(1);
  EmbeddingForward<float>(*context, In(table, 6, 5), 0, ids, Out(whole, 4, 5));
  EmbeddingForward<float>(*context, In(table, 6, 5).Rows(0, 3), 0, ids, Out(low, 4, 5));
  EmbeddingForward<float>(*context, In(table, 6, 5).Rows(3, 3), 3, ids, Out(high, 4, 5));
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(low[i] + high[i], whole[i]);
    EXPECT_EQ(whole[i], table[static_cast<size_t>(ids[i / 5]) * 5 + i % 5]);
  }
}

}  // namespace
}  // namespace hadal::train
