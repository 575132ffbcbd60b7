#include "model/moe.h"

#include <algorithm>

namespace hadal {
namespace {

/// Groups the step's routes by expert, tokens ascending within an expert.
void GroupByExpert(const ModelConfig& c, int64_t rows, Activations& a) {
  const int64_t experts = c.n_routed_experts, k = c.num_experts_per_tok;
  int32_t* first = a.expert_first.data;
  std::fill_n(first, experts + 1, 0);
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < k; ++i) ++first[a.route_ids.at(t, i) + 1];
  for (int64_t e = 0; e < experts; ++e) first[e + 1] += first[e];
  // Fill by walking; `first` is used as the cursor and moved back afterwards.
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t i = 0; i < k; ++i) {
      const int32_t place = first[a.route_ids.at(t, i)]++;
      a.expert_rows.data[place] = static_cast<int32_t>(t);
      a.route_places.at(t, i) = place;
    }
  }
  for (int64_t e = experts; e > 0; --e) first[e] = first[e - 1];
  first[0] = 0;
}

}  // namespace

void DenseFeedForward(ExecContext& ctx, const FeedForwardWeights& w, int64_t rows, Activations& a) {
  const View<float> x = a.normed.Rows(0, rows);
  const View<float> gate = a.gate.Rows(0, rows).Cols(0, w.gate.out), up = a.up.Rows(0, rows).Cols(0, w.up.out);
  const ops::LinearJob both[] = {{x, &w.gate, gate}, {x, &w.up, up}};
  ops::Linears(ctx, both);                               // [T, intermediate]
  ops::SwiGlu(ctx, gate, up, gate);
  ops::Linear(ctx, gate, w.down, a.branch.Rows(0, rows));  // [T, d]
}

Status MoeFeedForward(ExecContext& ctx, const ModelConfig& c, const MoeWeights& w, int64_t rows, int64_t layer,
                      Activations& a, ForwardObserver* observer) {
  const int64_t k = c.num_experts_per_tok, routes = rows * k;
  const View<float> x = a.normed.Rows(0, rows), y = a.branch.Rows(0, rows);
  const View<int32_t> ids = a.route_ids.Rows(0, rows);
  const View<float> weights = a.route_weights.Rows(0, rows), logits = a.router_logits.Rows(0, rows);
  // The shared expert waits for no route: it shares the router's loop, which alone would keep few threads busy.
  std::vector<ops::LinearJob>& jobs = a.jobs;
  const int64_t shared_width = w.shared ? w.shared->gate.out : 0;
  const View<float> shared_gate = a.gate.Rows(0, rows).Cols(0, shared_width);
  const View<float> shared_up = a.up.Rows(0, rows).Cols(0, shared_width);
  jobs.clear();
  jobs.push_back({x, &w.router, logits});
  if (w.shared) {
    jobs.push_back({x, &w.shared->gate, shared_gate});
    jobs.push_back({x, &w.shared->up, shared_up});
  }
  ops::Linears(ctx, jobs);                               // [T, E] in f32, [T, shared intermediate]
  RETURN_IF_ERROR(RouteTokens(ctx, c, logits, w.bias, ids, weights));
  GroupByExpert(c, rows, a);

  // Every expert that has tokens as one loop; then their way back, with the shared one.
  const auto group = [&](int64_t e) {
    return std::pair<int64_t, int64_t>(a.expert_first.data[e], a.expert_first.data[e + 1] - a.expert_first.data[e]);
  };
  jobs.clear();
  for (int64_t e = 0; e < c.n_routed_experts; ++e) {
    const auto [first, count] = group(e);
    if (count == 0) continue;
    const FeedForwardWeights& expert = w.experts[static_cast<size_t>(e)];
    jobs.push_back({x, &expert.gate, a.expert_gate.Rows(first, count), a.expert_rows.data + first});
    jobs.push_back({x, &expert.up, a.expert_up.Rows(first, count), a.expert_rows.data + first});
  }
  ops::Linears(ctx, jobs);                               // [T * K, moe intermediate]

  const View<float> expert_act = a.expert_gate.Rows(0, routes);
  ops::SwiGlu(ctx, expert_act, a.expert_up.Rows(0, routes), expert_act);
  if (w.shared) ops::SwiGlu(ctx, shared_gate, shared_up, shared_gate);

  jobs.clear();
  for (int64_t e = 0; e < c.n_routed_experts; ++e) {
    const auto [first, count] = group(e);
    if (count == 0) continue;
    jobs.push_back({a.expert_gate.Rows(first, count), &w.experts[static_cast<size_t>(e)].down,
                    a.expert_out.Rows(first, count)});
  }
  const View<float> shared_out = w.shared ? a.shared_out.Rows(0, rows) : View<float>();
  if (w.shared) jobs.push_back({shared_gate, &w.shared->down, shared_out});
  ops::Linears(ctx, jobs);                               // [T * K, d], [T, d]

  ctx.pool().For(rows, [&](int64_t t, int) {
    std::fill_n(y.row(t), y.cols, 0.0f);
    for (int64_t i = 0; i < k; ++i)
      ctx.kernels().add_scaled(a.expert_out.row(a.route_places.at(t, i)), weights.at(t, i), y.cols, y.row(t));
  });
  if (observer) {
    observer->OnRoutes(layer, ids, weights);
    observer->OnTensor("router_logits", layer, logits);
    observer->OnTensor("routed_out", layer, y);
  }
  if (w.shared) ops::Add(ctx, shared_out, y);
  return {};
}

}  // namespace hadal
