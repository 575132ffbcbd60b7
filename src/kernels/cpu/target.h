// The kernels of one target: HADAL_TARGET names its namespace. Included by target_*.cc alone.
#include "kernels/cpu/attention.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/linear_tiles.h"
#include "kernels/cpu/prepare.h"
#include "kernels/cpu/targets.h"

namespace hadal::HADAL_TARGET {
namespace {

#if defined(__AVX512BF16__)
constexpr bool kBF16Pairs = true;
#else
constexpr bool kBF16Pairs = false;
#endif

void Linear(const PanelWeight& w, const void* const* rows, int64_t m, int64_t first_panel, int64_t panel_count,
            float* const* y) {
  const auto run = [&](auto product) { RunLinear<decltype(product)>(w, rows, m, first_panel, panel_count, y); };
  switch (w.format) {
    case WeightFormat::kF32: return run(PlainProduct<F32Weights>());
    case WeightFormat::kF16: return run(PlainProduct<F16Weights>());
    case WeightFormat::kBF16:
#if defined(__AVX512BF16__)
      if (w.input == InputFormat::kBF16) return run(BF16Dot());
#endif
      return run(PlainProduct<BF16Weights>());
    case WeightFormat::kFp8:
#if defined(__AVX512BF16__)
      if (w.input == InputFormat::kBF16) return run(Fp8Dot());
#endif
      return run(ScaledProduct<Fp8Weights, true>());
    case WeightFormat::kInt8:
      if (w.input == InputFormat::kInt8) return run(IntDot<Int8Four>());
      return run(ScaledProduct<Int8Weights, false>());
    case WeightFormat::kInt4:
      if (w.input == InputFormat::kInt8) return run(IntDot<Int4Eight>());
      return run(ScaledProduct<Int4Weights, false>());
  }
}

void AttendPromptHere(const PromptArgs& args) { AttendPrompt(args, Prepare<!kBF16Pairs>, Linear); }

}  // namespace

const KernelTable& Table() {
  static constexpr KernelTable kTable{HADAL_TARGET_NAME, kBF16Pairs, Prepare<!kBF16Pairs>, Linear,
                                      RmsNormRow,        SwiGluRow,  RopeRow,              AddScaledRow,
                                      AttendAbsorbed,    AttendPromptHere};
  return kTable;
}

}  // namespace hadal::HADAL_TARGET
