// What the kernels need of CUDA itself. Under g++ the same sources run on the host, a thread of the machine for each of
// theirs: tests/emulation.h has this file's other half.
#pragma once

#include "precisionlab/device.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#define PL_DYNAMIC_SHARED(name) extern __shared__ double name[]

namespace precisionlab::device {

// Start `kernel` on `stream`; the text of the error, or nullptr.
template <class Task>
const char* start(void (*kernel)(Task), std::int64_t blocks, int threads, int shared_bytes, void* stream,
                  const Task& task) {
  constexpr int GIVEN_ANYWAY = 48 * 1024;
  constexpr std::int64_t MOST_BLOCKS = 0x7fffffff;
  if (blocks > MOST_BLOCKS) return "the batch is larger than a grid";
  cudaError_t error = cudaSuccess;
  if (shared_bytes > GIVEN_ANYWAY) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  }
  if (error == cudaSuccess) {
    kernel<<<static_cast<unsigned>(blocks), threads, static_cast<std::size_t>(shared_bytes),
             static_cast<cudaStream_t>(stream)>>>(task);
    error = cudaGetLastError();
  }
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace precisionlab::device
#else
#include "emulation.h"
#endif

namespace precisionlab::device {

constexpr int WARP = 32;
constexpr std::int64_t SHARED_BYTES = 160 * 1024;  // what a block may have on sm_80 and later

// Shared memory with the problems of a warp side by side: entry i of problem p lies at [i·PITCH + p]. The pitch is odd,
// so that neither a row of problems nor the entries of one meet in a bank.
constexpr int PITCH = WARP + 1;

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
