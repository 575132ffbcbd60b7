#include "train/batch_plan.h"

#include <string>

namespace hadal::train {
namespace {

/// "set NAME to N", where the others divide the whole; "" where they do not.
std::string Remedy(const char* name, int64_t whole, int64_t others) {
  return others > 0 && whole % others == 0 ? fmt::format("{} to {}, ", name, whole / others) : "";
}

}  // namespace

Result<BatchPlan> CompleteBatchPlan(const BatchPlan& plan) {
  constexpr int64_t kMost = int64_t{1} << 20;
  BatchPlan p = plan;
  for (const int64_t value : {p.micro_batch_size, p.data_parallel})
    if (value < 1 || value > kMost) return InvalidArgument("micro_batch_size {} and data_parallel {}; each is 1 to {}", p.micro_batch_size, p.data_parallel, kMost);
  if (p.gradient_accumulation_steps < 0 || p.gradient_accumulation_steps > kMost || p.global_batch_size < 0 ||
      p.global_batch_size > kMost * kMost)
    return InvalidArgument("gradient_accumulation_steps {} and global_batch_size {}; they may not be negative or that "
                           "large", p.gradient_accumulation_steps, p.global_batch_size);
  const int64_t per_round = p.micro_batch_size * p.data_parallel;
  if (p.gradient_accumulation_steps == 0) {
    if (p.global_batch_size % per_round != 0)
      return InvalidArgument("global_batch_size {} is no multiple of micro_batch_size {} x data_parallel {} = {}",
                             p.global_batch_size, p.micro_batch_size, p.data_parallel, per_round);
    p.gradient_accumulation_steps = p.global_batch_size == 0 ? 1 : p.global_batch_size / per_round;
  }
  const int64_t product = per_round * p.gradient_accumulation_steps;
  if (p.global_batch_size == 0) p.global_batch_size = product;
  if (product == p.global_batch_size) return p;
  const int64_t whole = p.global_batch_size;
  return InvalidArgument(
      "micro_batch_size {} x gradient_accumulation_steps {} x data_parallel {} = {}, and global_batch_size is {}; set "
      "{}{}{}or global_batch_size to {}", p.micro_batch_size, p.gradient_accumulation_steps, p.data_parallel, product,
      whole, Remedy("gradient_accumulation_steps", whole, per_round),
      Remedy("data_parallel", whole, p.micro_batch_size * p.gradient_accumulation_steps),
      Remedy("micro_batch_size", whole, p.gradient_accumulation_steps * p.data_parallel), product);
}

}  // namespace hadal::train
