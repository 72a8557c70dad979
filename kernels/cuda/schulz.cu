// Newton-Schulz iterates on the GPU: one thread a problem, A and X in shared memory, X A in registers.
#include "launch.h"
#include "precisionlab/schulz.h"

namespace precisionlab::device {

namespace {

template <int D>
__global__ void __launch_bounds__(WARP) schulz(SchulzTask t) {
  PL_DYNAMIC_SHARED(shared);
  const int lane = threadIdx.x, entries = t.m * D;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * WARP;
  const int problems = static_cast<int>(t.batch - first < WARP ? t.batch - first : WARP);
  double* const iterate = shared + entries * PITCH;
  gather(t.A + first * entries, entries, problems, shared);
  gather(t.X0 + first * entries, entries, problems, iterate);
  const Strided A{shared + lane}, X{iterate + lane};
  double* out = t.out + first * entries;
  for (int k = 0; k <= t.steps; ++k) {
    __syncwarp();
    if (t.every || k == t.steps) {
      for (int p = 0; p < problems; ++p) {
        for (int e = lane; e < entries; e += WARP) {
          out[static_cast<std::int64_t>(p) * entries + e] = iterate[e * PITCH + p];
        }
      }
      out += t.batch * entries;
      __syncwarp();
    }
    if (k < t.steps) schulz_step_in_registers<double, D>(A, t.m, X);
  }
}

std::int64_t shared_bytes(const SchulzTask& t) { return std::int64_t{16} * PITCH * t.m * t.n; }

constexpr void (*KERNELS[])(SchulzTask) = {nullptr,   schulz<1>, schulz<2>, schulz<3>, schulz<4>,
                                           schulz<5>, schulz<6>, schulz<7>, schulz<8>};

}  // namespace

bool takes(const SchulzTask& task) { return task.defect == nullptr && task.n <= 8 && shared_bytes(task) <= SHARED_BYTES; }

const char* run(const SchulzTask& task, void* stream) {
  const std::int64_t blocks = (task.batch + WARP - 1) / WARP;
  return start(KERNELS[task.n], blocks, WARP, static_cast<int>(shared_bytes(task)), stream, task);
}

}  // namespace precisionlab::device
