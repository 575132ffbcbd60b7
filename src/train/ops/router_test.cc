#include "train/ops/router.h"

#include "kernels/context.h"
#include "model/moe.h"
#include "train/ops/op_test_util.h"

namespace hadal::train {
namespace {

ModelConfig V3(int64_t experts, int64_t choices, int64_t groups, int64_t kept) {
  ModelConfig c;
  c.n_routed_experts = experts;
  c.num_experts_per_tok = choices;
  c.n_group = groups;
  c.topk_group = kept;
  c.routed_scaling_factor = 2.5;
  return c;
}

ModelConfig V2(int64_t experts, int64_t choices, int64_t groups, int64_t kept, bool normalised) {
  ModelConfig c = V3(experts, choices, groups, kept);
  c.architecture = Architecture::kDeepseekV2;
  c.scoring_func = Scoring::kSoftmax;
  c.topk_method = groups > 1 ? TopkMethod::kGroupLimitedGreedy : TopkMethod::kGreedy;
  c.norm_topk_prob = normalised;
  return c;
}

std::vector<ModelConfig> Configs() {
  ModelConfig unnormalised = V3(9, 2, 3, 2);
  unnormalised.norm_topk_prob = false;
  return {V3(16, 4, 4, 2),        V3(7, 3, 1, 1),        V3(8, 1, 1, 1),        unnormalised,
          V2(12, 3, 4, 2, false), V2(10, 2, 1, 1, true), V2(10, 1, 1, 1, true), V2(9, 4, 1, 1, false)};
}

/// Experts' biases: large enough to change choices.
template <typename T>
std::vector<T> Bias(const ModelConfig& c) {
  return Cast<T>(Random(c.n_routed_experts, 9));
}

/// The output is the weights; differences are far too small to change a choice.
struct RouterOp {
  ModelConfig c;
  int64_t tokens;

  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(tokens * c.n_routed_experts, 1)}; }
  int64_t outputs() const { return tokens * c.num_experts_per_tok; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const int64_t e = c.n_routed_experts, k = c.num_experts_per_tok;
    const std::vector<T> bias = Bias<T>(c);
    std::vector<int32_t> ids(static_cast<size_t>(tokens * k));
    std::vector<T> scores;
    OpResult<T> result;
    const View<int32_t> id_view(ids.data(), tokens, k);
    const View<T> score_view = Out(scores, tokens, e);
    EXPECT_TRUE(RouterForward<T>(ctx, c, In(inputs[0], tokens, e), bias.data(), id_view,
                                 Out(result.output, tokens, k), score_view));
    result.gradients.emplace_back(inputs[0].size(), T{0});
    RouterBackward<T>(ctx, c, score_view, id_view, In(upstream, tokens, k),
                      View<T>(result.gradients[0].data(), tokens, e));
    return result;
  }
};

TEST(Router, GradientsPrecisionAndThreads) {
  for (const ModelConfig& c : Configs()) {
    SCOPED_TRACE(testing::Message() << c.n_routed_experts << " experts, " << c.num_experts_per_tok
                                    << " a token, "
                                    << (c.scoring_func == Scoring::kSigmoid ? "sigmoid" : "softmax"));
    const RouterOp op{c, 37};
    // A single expert's normalised weight is the scaling factor, whatever its score: nothing to
    // differentiate.
    if (c.num_experts_per_tok > 1 || !c.norm_topk_prob || c.architecture == Architecture::kDeepseekV2)
      ASSERT_NO_FATAL_FAILURE(OpChecks(op).CentralDifferences());
    ASSERT_NO_FATAL_FAILURE(OpChecks(op).SameBitsForAnyThreads());
    if (c.num_experts_per_tok > 1) ASSERT_NO_FATAL_FAILURE(OpChecks(op).FloatAgainstDouble(2e-6));
  }
}

TEST(Router, ChoosesAndWeighsAsServingDoesBitForBit) {
  ThreadPool pool(1);
  OpLimits limits;
  limits.context = limits.latent = limits.nope = limits.rope = limits.value = 16;
  ExecContext serving = ExecContext::Create(CpuKernels(BestIsa()), pool, limits).value();
  const TestContext context(2);
  for (const ModelConfig& c : Configs()) {
    const int64_t e = c.n_routed_experts, k = c.num_experts_per_tok;
    std::vector<float> logits = Cast<float>(Random(50 * e, 3)), bias = Bias<float>(c);
    for (int64_t i = 0; i < e; ++i) logits[static_cast<size_t>(i)] = 0.25f;  // ties
    std::vector<int32_t> ids(static_cast<size_t>(50 * k)), served_ids = ids;
    std::vector<float> weights, scores, served(static_cast<size_t>(50 * k));
    ASSERT_TRUE(RouteTokens(serving, c, In(logits, 50, e), bias.data(),
                            View<int32_t>(served_ids.data(), 50, k), View<float>(served.data(), 50, k)));
    ASSERT_TRUE(RouterForward<float>(*context, c, In(logits, 50, e), bias.data(),
                                     View<int32_t>(ids.data(), 50, k), Out(weights, 50, k),
                                     Out(scores, 50, e)));
    EXPECT_EQ(ids, served_ids);
    EXPECT_EQ(weights, served);
  }
}

TEST(Router, NaNIsAnErrorThatNamesItsPlace) {
  const ModelConfig c = V3(4, 2, 1, 1);
  std::vector<float> logits(12, 0.0f), weights, scores;
  logits[9] = std::numeric_limits<float>::quiet_NaN();
  std::vector<int32_t> ids(6);
  const TestContext context(1);
  const Status status =
      RouterForward<float>(*context, c, In(logits, 3, 4), nullptr, View<int32_t>(ids.data(), 3, 2),
                           Out(weights, 3, 2), Out(scores, 3, 4));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kDataLoss);
  EXPECT_NE(status.error().message.find("expert 1 is NaN in row 2"), std::string::npos)
      << status.error().message;
}

/// The loss of three sequences, one of them empty, as a single output.
struct BalanceOp {
  ModelConfig c;

  static constexpr int64_t kTokens = 31;
  ScratchLimits limits() const { return {}; }
  Vectors<double> inputs() const { return {Random(kTokens * c.n_routed_experts, 5)}; }
  int64_t outputs() const { return 1; }
  template <typename T>
  OpResult<T> run(const OpContext& ctx, const Vectors<T>& inputs, const std::vector<T>& upstream) const {
    const int64_t e = c.n_routed_experts, k = c.num_experts_per_tok;
    const std::vector<int32_t> bounds{0, 12, 12, kTokens};
    std::vector<int32_t> ids(static_cast<size_t>(kTokens * k));
    std::vector<T> scores, weights;
    const View<int32_t> id_view(ids.data(), kTokens, k);
    const View<T> score_view = Out(scores, kTokens, e);
    EXPECT_TRUE(RouterForward<T>(ctx, c, In(inputs[0], kTokens, e), nullptr, id_view,
                                 Out(weights, kTokens, k), score_view));
    OpResult<T> result;
    result.gradients.emplace_back(inputs[0].size(), T{0});
    const double loss = SequenceBalance<T>(ctx, c, double{upstream[0]}, bounds, score_view, id_view,
                                           View<T>(result.gradients[0].data(), kTokens, e));
    result.output = {static_cast<T>(loss / upstream[0])};
    return result;
  }
};

TEST(SequenceBalance, GradientsPrecisionAndThreads) {
  for (const ModelConfig& c : {V3(11, 3, 1, 1), V2(11, 3, 1, 1, false)})
    ASSERT_NO_FATAL_FAILURE(OpChecks(BalanceOp{c}).All(2e-6));
}

// Each of E experts chosen equally and scored equally: f_i = 1, P_i = 1 / E, so the loss is alpha per
// sequence.
TEST(SequenceBalance, IsAlphaWhereLoadIsEven) {
  const ModelConfig c = V3(4, 2, 1, 1);
  const std::vector<double> scores(4 * 4, 0.5);
  const std::vector<int32_t> ids{0, 1, 2, 3, 1, 0, 3, 2};
  std::vector<double> dlogits(16, 0.0);
  const TestContext context(1, Compute::kF64);
  const std::vector<int32_t> bounds{0, 2, 4};
  EXPECT_NEAR(SequenceBalance<double>(*context, c, 0.3, bounds, In(scores, 4, 4), In(ids, 4, 2),
                                      View<double>(dlogits.data(), 4, 4)),
              0.6, 1e-15);
  EXPECT_LT(Largest(dlogits), 1e-17);
}

TEST(UpdateBias, MovesTowardsTheMean) {
  const std::vector<int32_t> ids{0, 1, 0, 2, 0, 1};
  std::vector<int64_t> counts(4, 0);
  CountChoices(In(ids, 3, 2), counts);
  EXPECT_EQ(counts, (std::vector<int64_t>{3, 2, 1, 0}));
  std::vector<float> bias(4, 0.0f);
  UpdateBias<float>(counts, 0.5, bias);  // the mean is 1.5
  EXPECT_EQ(bias, (std::vector<float>{-0.5f, -0.5f, 0.5f, 0.5f}));
  UpdateBias<float>(std::vector<int64_t>(4, 7), 0.5, bias);
  EXPECT_EQ(bias, (std::vector<float>{-0.5f, -0.5f, 0.5f, 0.5f}));
}

}  // namespace
}  // namespace hadal::train
