// Prompt attention: every table against the reference, and in bits whatever the chunks.
#include "kernels/kernel_test_util.h"
#include "kernels/ref/reference.h"

namespace hadal {
namespace {

using namespace testing_kernels;

struct Shape {
  int64_t nope, rope, value, latent;
};

struct Variant {
  Shape shape;
  LinearCase weights;
  bool bf16_rows = false;
};

std::string Describe(const Variant& s) {
  return std::to_string(s.shape.nope) + "/" + std::to_string(s.shape.rope) + "/" +
         std::to_string(s.shape.value) + " of " + std::to_string(s.shape.latent) + " " + Name(s.weights) +
         (s.bf16_rows ? " bf16" : " f32");
}

constexpr LinearCase kF32{WeightFormat::kF32, InputFormat::kF32};
constexpr LinearCase kAllWeights[] = {kF32,
                                      {WeightFormat::kBF16, InputFormat::kF32},
                                      {WeightFormat::kBF16, InputFormat::kBF16},
                                      {WeightFormat::kFp8, InputFormat::kE4M3},
                                      {WeightFormat::kInt8, InputFormat::kF32, 32},
                                      {WeightFormat::kInt8, InputFormat::kInt8, 128}};
constexpr Shape kShapes[] = {{16, 8, 16, 32}, {20, 6, 12, 40}, {13, 2, 5, 24}, {128, 64, 128, 96}};
constexpr int64_t kMaxPositions = 230;
constexpr int64_t kGap = 3;  // floats between one query's (output's) end and the next

/// One head's weights, `kMaxPositions` cached tokens and a query for each.
struct Problem {
  explicit Problem(const Variant& setup)
      : s(setup.shape),
        bf16_rows(setup.bf16_rows),
        k_up(setup.weights, s.nope, s.latent, 1),
        v_up(setup.weights, s.value, s.latent, 2),
        q_stride(s.nope + s.rope + kGap),
        q(static_cast<size_t>(kMaxPositions * q_stride), kNaN),
        scale(1 / std::sqrt(static_cast<float>(s.nope + s.rope))) {
    for (int64_t i = 0; i < kMaxPositions; ++i)
      for (int64_t j = 0; j < s.nope + s.rope; ++j)
        q[static_cast<size_t>(i * q_stride + j)] = RandomFloat(3, static_cast<uint64_t>(i * 1000 + j));
    const int64_t width = s.latent + s.rope;
    for (int64_t t = 0; t < kMaxPositions; ++t) {
      std::vector<std::byte> row(static_cast<size_t>(width * (bf16_rows ? 2 : 4)));
      for (int64_t i = 0; i < width; ++i) {
        const float value = RandomFloat(4, static_cast<uint64_t>(t * 1000 + i));
        const uint16_t code = ToBF16(value).bits;
        if (bf16_rows)
          std::memcpy(row.data() + i * 2, &code, 2);
        else
          std::memcpy(row.data() + i * 4, &value, 4);
      }
      memory.push_back(std::move(row));
    }
    for (const auto& row : memory) rows.push_back(row.data());
  }

  Shape s;
  bool bf16_rows;
  RandomWeight k_up, v_up;
  int64_t q_stride;
  std::vector<float> q;
  float scale;
  std::vector<std::vector<std::byte>> memory;
  std::vector<const void*> rows;
};

/// Attention of the queries at positions [first, first + queries).
struct Attended {
  Attended(const KernelTable& table, const Problem& p, int64_t first, int64_t queries)
      : stride(p.s.value + kGap),
        out(queries * stride),
        scratch(PromptScratch(queries, p.s.nope, p.s.rope, p.s.value, p.s.latent)) {
    PromptArgs a{};
    a.q = p.q.data() + first * p.q_stride;
    a.q_stride = p.q_stride;
    a.queries = queries;
    a.first_position = first;
    // Exactly the rows there are, so that AddressSanitizer sees a look beyond them.
    const std::vector<const void*> rows(p.rows.begin(), p.rows.begin() + first + queries);
    a.rows = rows.data();
    a.k_up = p.k_up.panel();
    a.v_up = p.v_up.panel();
    a.nope = p.s.nope;
    a.rope = p.s.rope;
    a.value = p.s.value;
    a.latent = p.s.latent;
    a.cache_bf16 = p.bf16_rows;
    a.scale = p.scale;
    a.out = out.data();
    a.out_stride = stride;
    a.scratch = scratch.data();
    table.attend_prompt(a);
  }
  const float* row(int64_t i) const { return out.data() + i * stride; }
  /// Nothing written beside the outputs, in the gaps between rows or behind the scratch.
  bool GuardsIntact(int64_t value) const {
    for (int64_t i = value; i < out.size(); ++i)
      if (i % stride >= value && !std::isnan(out[i])) return false;
    return out.GuardsIntact() && scratch.GuardsIntact();
  }

  int64_t stride;
  GuardedFloats out, scratch;
};

/// The largest root of a weight row's squares: a latent in [-1, 1] comes out of the product at about that
/// size.
double RowSize(const PanelWeight& w) {
  double largest = 0;
  for (int64_t o = 0; o < w.out; ++o) {
    const std::vector<double> row = reference::WeightRow(w, o);
    largest = std::max(largest, reference::Dot(row, row));
  }
  return std::sqrt(largest);
}

/// Rounding errors are as good as random: sqrt(n) units for a sum of n terms, relative to the sum's usual
/// size; four times that is allowed. First in keys and values, then in scores, then (relatively) in weights,
/// then in the mean.
double Tolerance(const Problem& p, int64_t positions) {
  const double key = std::max(RowSize(p.k_up.panel()), 1.0), value = RowSize(p.v_up.panel());
  const double latent = std::sqrt(static_cast<double>(p.s.latent));
  const double width = std::sqrt(static_cast<double>(p.s.nope + p.s.rope));
  const double score = p.scale * key * width * 4 * (latent + width) * kUnit;
  return value * (4 * score + (4 * latent + 4 * std::sqrt(static_cast<double>(positions)) + 32) * kUnit);
}

void CompareWithReference(const Variant& setup, std::initializer_list<int64_t> queries_list,
                          std::initializer_list<int64_t> first_list) {
  const Problem p(setup);
  // The reference's row for a position is the same in every run: compute all once.
  const Attended want(ReferenceKernels(), p, 0, kMaxPositions);
  for (int64_t queries : queries_list) {
    for (int64_t first : first_list) {
      const double tolerance = Tolerance(p, first + queries);
      for (const KernelTable* table : VectorTables()) {
        SCOPED_TRACE(testing::Message()
                     << table->name << " " << Describe(setup) << " queries " << queries << " from " << first);
        const Attended got(*table, p, first, queries);
        ASSERT_TRUE(got.GuardsIntact(p.s.value));
        for (int64_t i = 0; i < queries; ++i)
          for (int64_t c = 0; c < p.s.value; ++c)
            ASSERT_NEAR(got.row(i)[c], want.row(first + i)[c], tolerance) << "query " << i << " column " << c;
      }
    }
  }
}

TEST(AttendPrompt, AgreesWithTheReferenceInEveryFormat) {
  for (const Shape& shape : kShapes)
    for (const LinearCase& weights : kAllWeights)
      for (bool bf16_rows : {false, true})
        ASSERT_NO_FATAL_FAILURE(CompareWithReference({shape, weights, bf16_rows}, {1, 5, 130}, {0, 63, 100}));
}

TEST(AttendPrompt, AgreesWithTheReferenceAtEveryCut) {
  for (const Shape& shape : {kShapes[0], kShapes[1], kShapes[2]})
    CompareWithReference({shape, kF32}, {1, 3, 4, 5, 64, 65, 130}, {0, 1, 63, 64, 100});
}

// A prompt may come in any chunks (a budget of tokens, a prefix already cached): the bits must not show it.
TEST(AttendPrompt, ChunksGiveTheSameBits) {
  for (const LinearCase& weights : kAllWeights) {
    for (const Shape& shape : kShapes) {
      const Variant setup{shape, weights, true};
      const Problem p(setup);
      for (const KernelTable* table : VectorTables()) {
        for (int64_t first : {0, 50}) {
          const Attended whole(*table, p, first, 130);
          for (const std::vector<int64_t>& chunks :
               {std::vector<int64_t>{1, 64, 65}, {63, 67}, {3, 127}, {129, 1}, {2, 62, 1, 1, 64}}) {
            int64_t done = 0;
            for (int64_t count : chunks) {
              const Attended part(*table, p, first + done, count);
              for (int64_t i = 0; i < count; ++i)
                ASSERT_EQ(0,
                          std::memcmp(part.row(i), whole.row(done + i), static_cast<size_t>(shape.value) * 4))
                    << table->name << " " << Describe(setup) << " position " << first + done + i
                    << " in a chunk of " << count;
              done += count;
            }
          }
        }
      }
    }
  }
}

TEST(AttendPrompt, NaNInAQueryOrATokenStaysVisible) {
  for (const KernelTable* table : VectorTables()) {
    Problem p({kShapes[0], kF32});
    p.q[static_cast<size_t>(70 * p.q_stride + 1)] = kNaN;
    const Attended bad_query(*table, p, 0, 100);
    EXPECT_TRUE(std::isnan(bad_query.row(70)[0])) << table->name;
    EXPECT_FALSE(std::isnan(bad_query.row(71)[0])) << table->name << ": spoilt the next query";
    Problem broken({kShapes[0], kF32});
    std::memcpy(broken.memory[82].data(), &kNaN, 4);
    const Attended bad_token(*table, broken, 0, 100);
    EXPECT_TRUE(std::isnan(bad_token.row(82)[0])) << table->name;
    EXPECT_TRUE(std::isnan(bad_token.row(99)[0])) << table->name;
    EXPECT_FALSE(std::isnan(bad_token.row(81)[0])) << table->name << ": a query sees a token after it";
    EXPECT_FALSE(std::isnan(bad_token.row(3)[0])) << table->name;
  }
}

}  // namespace
}  // namespace hadal
