// A benchmark's report as people and programs read it.
#pragma once

#include <string>

#include "engine/bench_model.h"

namespace hadal {

/// One JSON object:
///   date, model, processor, isa, weights, threads,
///   limits {read_gbps, f32_gflops, bf16_gflops, int8_gops, samples [{the same four}]},
///   results [{batch, prompt, generate, depth, prefill_tps {min, median, max}, decode_tps {min, median, max},
///             prefill_share, prefill_limit, decode_share, read_gbps, bytes_per_token, bytes_per_step,
///             prefill_operations, experts_per_layer}],
///   load {seconds, gbps}, peak_rss_bytes, planned_bytes
/// A limit of 0: the processor has no instruction for it.
std::string BenchJson(const BenchReport& report);

/// The same as a table of at most 110 columns, ending in a newline.
std::string BenchTable(const BenchReport& report);

}  // namespace hadal
