// What the kernels need of CUDA itself. Under g++ the same sources run on the host, a thread of the machine for each of
// theirs: tests/emulation.h has this file's other half.
#pragma once

#include "precisionlab/device.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#define PL_DYNAMIC_SHARED(name) extern __shared__ double name[]

namespace precisionlab::device {

// Whether the current device has `kernel` and grants it so much shared memory. An error is the answer, and is cleared: else
// the next call of anybody would meet it.
template <class Task>
bool granted(void (*kernel)(Task), std::int64_t shared_bytes) {
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  if (error != cudaSuccess) cudaGetLastError();
  return error == cudaSuccess;
}

// Start `kernel` on `stream`; the text of the error, or nullptr.
template <class Task>
const char* start(void (*kernel)(Task), std::int64_t blocks, int threads, std::int64_t shared_bytes, void* stream,
                  const Task& task) {
  constexpr std::int64_t MOST_BLOCKS = 0x7fffffff;
  if (blocks > MOST_BLOCKS) return "the batch is larger than a grid";
  if (!granted(kernel, shared_bytes)) return "the device refuses the kernel";
  kernel<<<static_cast<unsigned>(blocks), threads, static_cast<std::size_t>(shared_bytes),
           static_cast<cudaStream_t>(stream)>>>(task);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace precisionlab::device
#else
#include "emulation.h"
#endif

namespace precisionlab::device {

struct Strided {
  double* at;
  __device__ __forceinline__ double& operator[](int i) const { return at[i * PITCH]; }
  __device__ __forceinline__ Strided operator+(int i) const { return {at + i * PITCH}; }
};

// `entries` numbers of each of the warp's problems, read along memory and stored across; the last fills empty lanes.
__device__ __forceinline__ void gather(const double* source, int entries, int problems, double* shared) {
  const int lane = threadIdx.x % WARP;
  for (int p = 0; p < WARP; ++p) {
    const double* const from = source + static_cast<std::int64_t>(p < problems ? p : problems - 1) * entries;
    for (int k = lane; k < entries; k += WARP) shared[k * PITCH + p] = from[k];
  }
}

}  // namespace precisionlab::device
