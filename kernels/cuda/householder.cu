// Least squares by Householder QR on the GPU: one thread a problem, its matrix in shared memory.
#include "launch.h"
#include "precisionlab/householder.h"
#include "precisionlab/triangular.h"

namespace precisionlab::device {

namespace {

template <int D>
__global__ void __launch_bounds__(WARP) householder(HouseholderTask t) {
  PL_DYNAMIC_SHARED(shared);
  const int lane = threadIdx.x, entries = t.m * D;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * WARP;
  const int problems = static_cast<int>(t.batch - first < WARP ? t.batch - first : WARP);
  double* const right = shared + entries * PITCH;
  gather(t.A + first * entries, entries, problems, shared);
  gather(t.b + first * t.m, t.m, problems, right);
  __syncwarp();
  const Strided A{shared + lane}, b{right + lane};
  double largest = 0.0, smallest = INFINITY;
  for (int i = 0; i < t.m; ++i) {
    double row = magnitude(A[i * D]);
    each<D>(D, [&](int j) { row = larger(row, magnitude(A[i * D + j])); });
    largest = larger(largest, row);
    smallest = smaller(smallest, row);
  }
  double x[D];
  householder_least_squares<double, D, D + 1>(A, b, t.m, D, x);
  const Factor<double> factor = judge<double, D, D>(A, D);
  const double residual = length<double>(b, D, t.m);
  if (lane < problems) {
    const std::int64_t problem = first + lane;
    each<D>(D, [&](int j) { t.x[problem * D + j] = x[j]; });
    double* const measures = t.measures + problem;
    measures[0] = largest;
    measures[t.batch] = smallest;
    measures[2 * t.batch] = factor.size;
    measures[3 * t.batch] = factor.smallest;
    measures[4 * t.batch] = factor.condition;
    measures[5 * t.batch] = residual;
  }
  __syncwarp();
  for (int p = 0; p < problems; ++p) {
    for (int k = lane; k < D * D; k += WARP) {
      t.R[(first + p) * D * D + k] = k % D < k / D ? 0.0 : shared[k * PITCH + p];
    }
  }
}

constexpr void (*KERNELS[])(HouseholderTask) = {nullptr,        householder<1>, householder<2>,
                                                householder<3>, householder<4>, householder<5>,
                                                householder<6>, householder<7>, householder<8>};

}  // namespace

bool ready(const HouseholderTask& task) { return granted(KERNELS[task.n], shared_bytes(task)); }

const char* run(const HouseholderTask& task, void* stream) {
  const std::int64_t blocks = (task.batch + WARP - 1) / WARP;
  return start(KERNELS[task.n], blocks, WARP, shared_bytes(task), stream, task);
}

}  // namespace precisionlab::device
