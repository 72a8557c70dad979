// Iterates of gradient descent and Chebyshev's method on the GPU, from the bodies that the CPU runs.
//
// Residual form: four lanes a problem, each holding every fourth row in registers; a partial gradient is summed over the
// four by two shuffles, in a fixed order. Gram form: one thread a problem. A warp's iterates pass through shared memory,
// so that they are written as whole sectors.
#include "precisionlab/device.h"
#include "precisionlab/iterates.h"

namespace precisionlab::device {

namespace {

constexpr int BLOCK = 128, WARPS = BLOCK / 32, QUAD = 4;
constexpr unsigned ALL = 0xffffffffu;

// The iterates of a warp's PROBLEMS problems, `leader` lanes holding them, to out (PROBLEMS, D) without gaps.
template <int D, int PROBLEMS>
__device__ __forceinline__ void emit(const double* x, int slot, bool leader, std::int64_t left, double* stage,
                                     double* out) {
  __syncwarp();
  if (leader) each<D>(D, [&](int j) { stage[slot * D + j] = x[j]; });
  __syncwarp();
  const int size = D * static_cast<int>(left < PROBLEMS ? left : PROBLEMS);
#pragma unroll
  for (int k = 0; k < (D * PROBLEMS + 31) / 32; ++k) {
    const int at = k * 32 + threadIdx.x % 32;
    if (at < size) out[at] = stage[at];
  }
}

template <int D, int PROBLEMS, class Gradient>
__device__ __forceinline__ void descend_and_emit(const IteratesTask& t, std::int64_t first, int slot, bool leader,
                                                 const Gradient& gradient) {
  __shared__ double stages[WARPS][PROBLEMS * D];
  double* const stage = stages[threadIdx.x / 32];
  const std::int64_t left = t.batch - first, problem = first + (slot < left ? slot : left - 1);
  double x[D], g[D], direction[D];
  each<D>(D, [&](int j) { x[j] = t.x0[problem * D + j]; });
  const double step = t.step[problem];
  Chebyshev<double> chebyshev{step, t.chebyshev ? t.spread[problem] : 0.0, 0.0};
  double* out = t.out + first * D;
  for (int k = 0; k < t.steps; ++k) {
    if (t.every) {
      emit<D, PROBLEMS>(x, slot, leader, left, stage, out);
      out += t.batch * D;
    }
    gradient(x, g);
    if (!t.chebyshev) {
      descend<double, D>(step, g, D, x);
    } else if (k == 0) {
      chebyshev.first<D>(g, D, direction, x);
    } else {
      chebyshev.next<D>(g, D, direction, x);
    }
  }
  emit<D, PROBLEMS>(x, slot, leader, left, stage, out);
}

// ROWS rows a lane; rows beyond m are zero and add nothing.
template <int ROWS, int D>
__global__ void __launch_bounds__(BLOCK) residual_form(IteratesTask t) {
  constexpr int PROBLEMS = 32 / QUAD;
  const int lane = threadIdx.x % QUAD, slot = threadIdx.x % 32 / QUAD;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32) * PROBLEMS;
  if (first >= t.batch) return;  // the whole warp
  const std::int64_t left = t.batch - first, problem = first + (slot < left ? slot : left - 1);
  double A[ROWS * D], b[ROWS];
  each<ROWS>(ROWS, [&](int r) {
    const int i = r * QUAD + lane;
    const double* const row = t.A + (problem * t.m + i) * D;
    each<D>(D, [&](int j) { A[r * D + j] = i < t.m ? row[j] : 0.0; });
    b[r] = i < t.m ? t.b[problem * t.m + i] : 0.0;
  });
  descend_and_emit<D, PROBLEMS>(t, first, slot, lane == 0, [&](const double* x, double* g) {
    residual_gradient<double, D, ROWS>(A, b, ROWS, D, x, g);
    each<D>(D, [&](int j) {
      g[j] += __shfl_xor_sync(ALL, g[j], 1);
      g[j] += __shfl_xor_sync(ALL, g[j], 2);
    });
  });
}

template <int D>
__global__ void __launch_bounds__(BLOCK) gram_form(IteratesTask t) {
  const int slot = threadIdx.x % 32;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32) * 32;
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
  descend_and_emit<D, 32>(t, first, slot, true,
                          [&](const double* x, double* g) { gram_gradient<double, D>(G, c, D, x, g); });
}

using Launch = void (*)(const IteratesTask&, cudaStream_t);

template <int ROWS, int D>
void launch(const IteratesTask& t, cudaStream_t stream) {
  constexpr int PROBLEMS = WARPS * (ROWS > 0 ? 32 / QUAD : 32);
  const auto blocks = static_cast<unsigned>((t.batch + PROBLEMS - 1) / PROBLEMS);
  if constexpr (ROWS > 0) {
    residual_form<ROWS, D><<<blocks, BLOCK, 0, stream>>>(t);
  } else {
    gram_form<D><<<blocks, BLOCK, 0, stream>>>(t);
  }
}

// What fits the registers: ROWS (D + 1) + 4 D doubles and addresses within 255 registers, found by ptxas to spill nothing.
Launch find(const IteratesTask& t) {
  struct Entry {
    int n;
    Launch by_rows[5];  // Gram, then up to 8, 20, 32 and 64 rows
  };
  static constexpr Entry table[] = {
      {1, {launch<0, 1>, launch<2, 1>, launch<5, 1>, launch<8, 1>, launch<16, 1>}},
      {2, {launch<0, 2>, launch<2, 2>, launch<5, 2>, launch<8, 2>, launch<16, 2>}},
      {3, {launch<0, 3>, launch<2, 3>, launch<5, 3>, launch<8, 3>, launch<16, 3>}},
      {4, {launch<0, 4>, launch<2, 4>, launch<5, 4>, launch<8, 4>, nullptr}},
      {5, {launch<0, 5>, launch<2, 5>, launch<5, 5>, launch<8, 5>, nullptr}},
      {6, {launch<0, 6>, launch<2, 6>, launch<5, 6>, launch<8, 6>, nullptr}},
      {8, {launch<0, 8>, launch<2, 8>, launch<5, 8>, nullptr, nullptr}},
  };
  static constexpr int rows[] = {0, 8, 20, 32, 64};
  for (const Entry& entry : table) {
    if (entry.n != t.n) continue;
    if (t.gram) return entry.by_rows[0];
    for (int i = 1; i < 5; ++i) {
      if (t.m <= rows[i] && entry.by_rows[i] != nullptr) return entry.by_rows[i];
    }
  }
  return nullptr;
}

}  // namespace

bool takes(const IteratesTask& task) { return find(task) != nullptr; }

const char* run(const IteratesTask& task, void* stream) {
  if (task.batch == 0) return nullptr;
  find(task)(task, static_cast<cudaStream_t>(stream));
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace precisionlab::device
