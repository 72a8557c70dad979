// Least squares by Householder QR on the GPU: one thread a problem, its matrix in shared memory with the problems of a
// warp side by side, so that no two lanes meet in a bank.
#include "precisionlab/device.h"
#include "precisionlab/householder.h"

namespace precisionlab::device {

namespace {

constexpr int WARP = 32;
constexpr int SHARED_BYTES = 160 * 1024;  // what a block may have on sm_80 and later

struct Strided {
  double* at;
  __device__ __forceinline__ double& operator[](int i) const { return at[i * WARP]; }
  __device__ __forceinline__ Strided operator+(int i) const { return {at + i * WARP}; }
};

template <int D>
__global__ void __launch_bounds__(WARP) householder(HouseholderTask t) {
  extern __shared__ double shared[];
  const int lane = threadIdx.x, entries = t.m * D;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * WARP;
  const int problems = static_cast<int>(t.batch - first < WARP ? t.batch - first : WARP);
  double* const right = shared + entries * WARP;
  // Read along memory, stored across: entry k of problem p to shared[k][p].
  for (int p = 0; p < WARP; ++p) {
    const std::int64_t problem = first + (p < problems ? p : problems - 1);
    for (int k = lane; k < entries; k += WARP) shared[k * WARP + p] = t.A[problem * entries + k];
    for (int k = lane; k < t.m; k += WARP) right[k * WARP + p] = t.b[problem * t.m + k];
  }
  __syncwarp();
  const Strided A{shared + lane}, b{right + lane};
  double largest = 0.0, smallest = INFINITY;
  for (int i = 0; i < t.m; ++i) {
    double row = 0.0;
    each<D>(D, [&](int j) { row = larger(row, magnitude(A[i * D + j])); });
    largest = larger(largest, row);
    smallest = smaller(smallest, row);
  }
  double x[D];
  householder_least_squares<double, D, D + 1>(A, b, t.m, D, x);
  __syncwarp();
  if (lane < problems) {
    const std::int64_t problem = first + lane;
    each<D>(D, [&](int j) { t.x[problem * D + j] = x[j]; });
    t.rows[problem * 2] = largest;
    t.rows[problem * 2 + 1] = smallest;
  }
  for (int p = 0; p < problems; ++p) {
    for (int k = lane; k < D * D; k += WARP) {
      t.R[(first + p) * D * D + k] = k % D < k / D ? 0.0 : shared[k * WARP + p];
    }
  }
}

int shared_bytes(const HouseholderTask& t) { return 8 * WARP * t.m * (t.n + 1); }

template <int D>
void launch(const HouseholderTask& t, cudaStream_t stream) {
  const int bytes = shared_bytes(t);
  cudaFuncSetAttribute(householder<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  householder<D><<<static_cast<unsigned>((t.batch + WARP - 1) / WARP), WARP, bytes, stream>>>(t);
}

using Launch = void (*)(const HouseholderTask&, cudaStream_t);
constexpr Launch LAUNCHES[] = {nullptr,   launch<1>, launch<2>, launch<3>, launch<4>,
                               launch<5>, launch<6>, launch<7>, launch<8>};

}  // namespace

bool takes(const HouseholderTask& task) { return task.n <= 8 && shared_bytes(task) <= SHARED_BYTES; }

const char* run(const HouseholderTask& task, void* stream) {
  if (task.batch == 0) return nullptr;
  LAUNCHES[task.n](task, static_cast<cudaStream_t>(stream));
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace precisionlab::device
