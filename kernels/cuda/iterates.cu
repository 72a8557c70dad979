// Iterates of gradient descent on the GPU, from the bodies that the CPU runs.
//
// Residual form: a team of 4 or 32 lanes a problem, each holding every 4th or 32nd row in registers; the partial gradients
// are summed over the team by shuffles, in a fixed order. Gram form: one thread a problem. A warp's iterates pass through
// shared memory, so that they are written as whole sectors.
#include <utility>

#include "launch.h"
#include "precisionlab/iterates.h"

namespace precisionlab::device {

namespace {

constexpr int BLOCK = 128, WARPS = BLOCK / WARP;
constexpr unsigned ALL = 0xffffffffu;

// The iterates of a warp's PROBLEMS problems, `leader` lanes holding them, to out (PROBLEMS, n) without gaps; n <= D.
template <int D, int PROBLEMS>
__device__ __forceinline__ void emit(const double* x, int n, int slot, bool leader, std::int64_t left, double* stage,
                                     double* out) {
  __syncwarp();
  if (leader) {
    each<D>(D, [&](int j) {
      if (j < n) stage[slot * n + j] = x[j];
    });
  }
  __syncwarp();
  const int size = n * static_cast<int>(left < PROBLEMS ? left : PROBLEMS);
#pragma unroll
  for (int k = 0; k < (D * PROBLEMS + 31) / 32; ++k) {
    const int at = k * 32 + threadIdx.x % 32;
    if (at < size) out[at] = stage[at];
  }
}

template <int D, int PROBLEMS, class Gradient>
__device__ __forceinline__ void descend_and_emit(const IteratesTask& t, int n, std::int64_t first, int slot,
                                                 bool leader, const Gradient& gradient) {
  __shared__ double stages[WARPS][PROBLEMS * D];
  double* const stage = stages[threadIdx.x / 32];
  const std::int64_t left = t.batch - first, problem = first + (slot < left ? slot : left - 1);
  double x[D], g[D];
  each<D>(D, [&](int j) { x[j] = j < n ? t.x0[problem * n + j] : 0.0; });
  const double step = t.step[problem];
  double* out = t.out + first * n;
  for (int k = 0; k < t.steps; ++k) {
    emit<D, PROBLEMS>(x, n, slot, leader, left, stage, out);
    out += t.batch * n;
    gradient(x, g);
    descend<double, D>(step, g, D, x);
  }
  emit<D, PROBLEMS>(x, n, slot, leader, left, stage, out);
}

// ROWS rows a lane. Rows beyond m are zero and add nothing; with a team of a whole warp, so are columns beyond n.
template <int TEAM, int ROWS, int D>
__global__ void __launch_bounds__(BLOCK) residual_form(IteratesTask t) {
  constexpr int PROBLEMS = WARP / TEAM;
  const int n = TEAM == WARP ? t.n : D;
  const int lane = threadIdx.x % TEAM, slot = threadIdx.x % WARP / TEAM;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP) * PROBLEMS;
  if (first >= t.batch) return;  // the whole warp
  const std::int64_t left = t.batch - first, problem = first + (slot < left ? slot : left - 1);
  double A[ROWS * D], b[ROWS];
  each<ROWS>(ROWS, [&](int r) {
    const int i = r * TEAM + lane;
    const double* const row = t.A + (problem * t.m + i) * n;
    each<D>(D, [&](int j) { A[r * D + j] = i < t.m && j < n ? row[j] : 0.0; });
    b[r] = i < t.m ? t.b[problem * t.m + i] : 0.0;
  });
  descend_and_emit<D, PROBLEMS>(t, n, first, slot, lane == 0, [&](const double* x, double* g) {
    residual_gradient<double, D, ROWS>(A, b, ROWS, D, x, g);
    each<D>(D, [&](int j) {
#pragma unroll
      for (int other = 1; other < TEAM; other *= 2) g[j] = g[j] + __shfl_xor_sync(ALL, g[j], other);
    });
  });
}

template <int D>
__global__ void __launch_bounds__(BLOCK) gram_form(IteratesTask t) {
  const int slot = threadIdx.x % WARP;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP) * WARP;
  if (first >= t.batch) return;
  const std::int64_t left = t.batch - first, problem = first + (slot < left ? slot : left - 1);
  double G[D * D], c[D];
  each<D * D>(D * D, [&](int j) { G[j] = 0.0; });
  each<D>(D, [&](int j) { c[j] = 0.0; });
  const double* row = t.A + problem * t.m * D;
  const double* const b = t.b + problem * t.m;
  for (int i = 0; i < t.m; ++i, row += D) {
    each<D>(D, [&](int j) {
      each<D>(D, [&](int k) {
        if (k >= j) G[j * D + k] = madd(row[j], row[k], G[j * D + k]);
      });
      c[j] = madd(row[j], b[i], c[j]);
    });
  }
  each<D>(D, [&](int j) {
    each<D>(D, [&](int k) {
      if (k < j) G[j * D + k] = G[k * D + j];
    });
  });
  const auto gradient = [&](const double* x, double* g) { gram_gradient<double, D>(G, c, D, x, g); };
  descend_and_emit<D, WARP>(t, D, first, slot, true, gradient);
}

using Kernel = void (*)(IteratesTask);

constexpr Kernel GRAM[] = {nullptr,      gram_form<1>, gram_form<2>, gram_form<3>, gram_form<4>,
                           gram_form<5>, gram_form<6>, gram_form<7>, gram_form<8>};

template <std::size_t... I>
Kernel of_team(int team, std::index_sequence<I...>) {
  constexpr Kernel all[] = {residual_form<TEAMS[I].lanes, TEAMS[I].rows, TEAMS[I].columns>...};
  return all[team];
}

Kernel kernel_of(const IteratesTask& t) {
  return t.gram ? GRAM[t.n] : of_team(team_of(t.m, t.n), std::make_index_sequence<TEAM_COUNT>());
}

}  // namespace

bool ready(const IteratesTask& task) { return granted(kernel_of(task), 0); }

const char* run(const IteratesTask& task, void* stream) {
  const std::int64_t problems = WARPS * (task.gram ? WARP : WARP / TEAMS[team_of(task.m, task.n)].lanes);
  return start(kernel_of(task), (task.batch + problems - 1) / problems, BLOCK, 0, stream, task);
}

}  // namespace precisionlab::device
