// Iterates of gradient descent and Chebyshev's method on the GPU, from the bodies that the CPU runs.
//
// Residual form: a team of 4 or 32 lanes a problem, each holding every 4th or 32nd row in registers; the partial gradients
// are summed over the team by shuffles, in a fixed order. Gram form: one thread a problem. A warp's iterates pass through
// shared memory, so that they are written as whole sectors.
#include "launch.h"
#include "precisionlab/iterates.h"

namespace precisionlab::device {

namespace {

constexpr int BLOCK = 128, WARPS = BLOCK / WARP, QUAD = 4;
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

template <bool CHEBYSHEV, int D, int PROBLEMS, class Gradient>
__device__ __forceinline__ void descend_and_emit(const IteratesTask& t, int n, std::int64_t first, int slot,
                                                 bool leader, const Gradient& gradient) {
  __shared__ double stages[WARPS][PROBLEMS * D];
  double* const stage = stages[threadIdx.x / 32];
  const std::int64_t left = t.batch - first, problem = first + (slot < left ? slot : left - 1);
  double x[D], g[D], direction[D];
  each<D>(D, [&](int j) { x[j] = j < n ? t.x0[problem * n + j] : 0.0; });
  const double step = t.step[problem];
  Chebyshev<double> chebyshev{step, CHEBYSHEV ? t.spread[problem] : 0.0, 0.0};
  double* out = t.out + first * n;
  for (int k = 0; k < t.steps; ++k) {
    if (t.every) {
      emit<D, PROBLEMS>(x, n, slot, leader, left, stage, out);
      out += t.batch * n;
    }
    gradient(x, g);
    if constexpr (!CHEBYSHEV) {
      descend<double, D>(step, g, D, x);
    } else if (k == 0) {
      chebyshev.first<D>(g, D, direction, x);
    } else {
      chebyshev.next<D>(g, D, direction, x);
    }
  }
  emit<D, PROBLEMS>(x, n, slot, leader, left, stage, out);
}

// ROWS rows a lane. Rows beyond m are zero and add nothing; with a team of a whole warp, so are columns beyond n.
template <bool CHEBYSHEV, int TEAM, int ROWS, int D>
__global__ void __launch_bounds__(BLOCK, CHEBYSHEV ? 2 : 1) residual_form(IteratesTask t) {
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
  descend_and_emit<CHEBYSHEV, D, PROBLEMS>(t, n, first, slot, lane == 0, [&](const double* x, double* g) {
    residual_gradient<double, D, ROWS>(A, b, ROWS, D, x, g);
    each<D>(D, [&](int j) {
#pragma unroll
      for (int other = 1; other < TEAM; other *= 2) g[j] = g[j] + __shfl_xor_sync(ALL, g[j], other);
    });
  });
}

template <bool CHEBYSHEV, int D>
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
  descend_and_emit<CHEBYSHEV, D, WARP>(t, D, first, slot, true, gradient);
}

using Kernel = void (*)(IteratesTask);

// What fits the registers, about 2 (ROWS (D + 1) + 4 D) of them within 255, found by ptxas to spill nothing.
struct Choice {
  Kernel descent, chebyshev;
  int problems, rows, columns;  // of a warp; at most
  bool exact;                   // whether `columns` is all it takes
};

template <int D>
constexpr Choice BY_GRAM = {gram_form<false, D>, gram_form<true, D>, WARP, 1 << 24, D, true};
template <int ROWS, int D>
constexpr Choice BY_FOUR = {residual_form<false, QUAD, ROWS, D>, residual_form<true, QUAD, ROWS, D>,
                                  WARP / QUAD, ROWS * QUAD, D, true};
template <int ROWS, int D>
constexpr Choice BY_WARP = {residual_form<false, WARP, ROWS, D>, residual_form<true, WARP, ROWS, D>,
                                  1, ROWS * WARP, D, false};

// The first that fits is taken.
constexpr Choice GRAM[] = {BY_GRAM<1>, BY_GRAM<2>, BY_GRAM<3>, BY_GRAM<4>, BY_GRAM<5>, BY_GRAM<6>, BY_GRAM<7>, BY_GRAM<8>};
constexpr Choice RESIDUAL[] = {
    BY_FOUR<2, 1>, BY_FOUR<5, 1>, BY_FOUR<8, 1>, BY_FOUR<16, 1>, BY_FOUR<2, 2>, BY_FOUR<5, 2>,
    BY_FOUR<8, 2>, BY_FOUR<16, 2>, BY_FOUR<2, 3>, BY_FOUR<5, 3>, BY_FOUR<8, 3>, BY_FOUR<16, 3>,
    BY_FOUR<2, 4>, BY_FOUR<5, 4>, BY_FOUR<8, 4>, BY_FOUR<2, 5>, BY_FOUR<5, 5>, BY_FOUR<8, 5>,
    BY_FOUR<2, 6>, BY_FOUR<5, 6>, BY_FOUR<8, 6>, BY_FOUR<2, 7>, BY_FOUR<5, 7>, BY_FOUR<2, 8>,
    BY_FOUR<5, 8>, BY_WARP<8, 8>, BY_WARP<2, 16>};

template <std::size_t COUNT>
const Choice* first_of(const Choice (&choices)[COUNT], const IteratesTask& t) {
  for (const Choice& choice : choices) {
    const bool fits = choice.exact ? t.n == choice.columns : t.n <= choice.columns;
    if (fits && t.m <= choice.rows) return &choice;
  }
  return nullptr;
}

const Choice* find(const IteratesTask& t) { return t.gram ? first_of(GRAM, t) : first_of(RESIDUAL, t); }

}  // namespace

bool takes(const IteratesTask& task) { return task.watch.norms == nullptr && find(task) != nullptr; }

const char* run(const IteratesTask& task, void* stream) {
  const Choice& choice = *find(task);
  const std::int64_t problems = WARPS * choice.problems;
  const Kernel kernel = task.chebyshev ? choice.chebyshev : choice.descent;
  return start(kernel, (task.batch + problems - 1) / problems, BLOCK, 0, stream, task);
}

}  // namespace precisionlab::device
