#include "kernels/ref/reference.h"

namespace hadal {

const KernelTable& ReferenceKernels() {
  static constexpr KernelTable kTable{
      .name = "reference",
      .bf16_pairs = false,
      .prepare = reference::Prepare,
      .linear = reference::Linear,
      .rms_norm = reference::RmsNorm,
      .swiglu = reference::SwiGlu,
      .rope = reference::Rope,
      .add_scaled = reference::AddScaled,
      .attend_absorbed = reference::AttendAbsorbed,
      .attend_prompt = reference::AttendPrompt,
  };
  return kTable;
}

}  // namespace hadal
