#include "train/ops/context.h"

#include "train/ops/attention.h"

namespace hadal::train {
namespace {

int64_t WorkerBytes(const ScratchLimits& l) {
  return AttentionScratchBytes(l.rows, l.nope, l.rope, l.value, l.f64 ? 8 : 4);
}

}  // namespace

uint64_t OpScratch::PlannedBytes(const ScratchLimits& limits, int threads) {
  return static_cast<uint64_t>(WorkerBytes(limits)) * static_cast<uint64_t>(threads);
}

Result<OpScratch> OpScratch::Create(const ScratchLimits& limits, int threads) {
  OpScratch scratch;
  scratch.limits_ = limits;
  scratch.worker_bytes_ = WorkerBytes(limits);
  ASSIGN_OR_RETURN(scratch.bytes_,
                   ByteBuffer::Allocate(PlannedBytes(limits, threads), "scratch of training's ops"));
  return scratch;
}

}  // namespace hadal::train
