// Gated convolution on the GPU: one block takes a chunk of sequences, one after the other, and 32 neighbouring features, a
// lane each. The sums run in the CPU's order, so the bits are the CPU's.
#include "launch.h"
#include "precisionlab/portable.h"

namespace precisionlab::device {

namespace {

constexpr int WARPS = 8, THREADS = WARPS * WARP;

// The tiles of a block, [position][feature].
struct Tiles {
  double *u, *dz, *filter, *sums;
  __device__ __forceinline__ Tiles(const ConvolutionTask& t, double* shared)
      : u(shared), dz(u + t.tokens * WARP), filter(dz + t.tokens * WARP), sums(filter + t.taps * WARP) {}
};

// bias + Σ_k h_k u_(s−first−k)
__device__ __forceinline__ double convolved(const ConvolutionTask& t, const Tiles& tile, double bias, int s, int lane) {
  const Range range = taps_before(t, s);
  const double* const u = tile.u + (s - t.first) * WARP + lane;
  double sum = bias;
  for (int k = range.from; k < range.to; ++k) sum = madd(tile.filter[k * WARP + lane], u[-k * WARP], sum);
  return sum;
}

// du_s = Σ_k h_k dz_(s+first+k)
__device__ __forceinline__ double correlated(const ConvolutionTask& t, const Tiles& tile, int s, int lane) {
  const Range range = taps_after(t, s);
  const double* const dz = tile.dz + (s + t.first) * WARP + lane;
  double sum = 0.0;
  for (int k = range.from; k < range.to; ++k) sum = madd(tile.filter[k * WARP + lane], dz[k * WARP], sum);
  return sum;
}

// sum + Σ_s dz_s u_(s−first−k), or for k = taps sum + Σ_s dz_s
__device__ __forceinline__ double gathered(const ConvolutionTask& t, const Tiles& tile, double sum, int k, int lane) {
  if (k == t.taps) {
    for (int s = 0; s < t.tokens; ++s) sum = sum + tile.dz[s * WARP + lane];
    return sum;
  }
  const Range range = tokens_under(t, k);
  const double* const u = tile.u - (t.first + k) * WARP + lane;
  for (int s = range.from; s < range.to; ++s) sum = madd(tile.dz[s * WARP + lane], u[s * WARP], sum);
  return sum;
}

__global__ void __launch_bounds__(THREADS) convolution(ConvolutionTask t) {
  PL_DYNAMIC_SHARED(shared);
  const Tiles tile(t, shared);
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, groups = (t.width + WARP - 1) / WARP;
  const std::int64_t chunk = blockIdx.x / groups, begin = chunk * CONVOLUTION_CHUNK;
  const std::int64_t end = begin + CONVOLUTION_CHUNK < t.batch ? begin + CONVOLUTION_CHUNK : t.batch;
  const int feature = static_cast<int>(blockIdx.x % groups) * WARP + lane;
  const bool real = feature < t.width;
  const double bias = real ? t.bias[feature] : 0.0;
  for (int k = warp; k < t.taps; k += WARPS) tile.filter[k * WARP + lane] = real ? t.filter[k * t.width + feature] : 0.0;
  for (int k = warp; k <= t.taps; k += WARPS) tile.sums[k * WARP + lane] = 0.0;
  for (std::int64_t sequence = begin; sequence < end; ++sequence) {
    const std::int64_t at = sequence * t.tokens * t.width + feature;
    __syncthreads();  // nobody still reads the sequence before
    for (int s = warp; s < t.tokens; s += WARPS) {
      const std::int64_t here = at + static_cast<std::int64_t>(s) * t.width;
      tile.u[s * WARP + lane] = real ? t.u[here] : 0.0;
      if (t.backward) tile.dz[s * WARP + lane] = real ? t.dy[here] * t.gate[here] : 0.0;
    }
    __syncthreads();
    for (int s = warp; s < t.tokens; s += WARPS) {
      if (!real) continue;
      const std::int64_t here = at + static_cast<std::int64_t>(s) * t.width;
      const double z = convolved(t, tile, bias, s, lane);
      if (t.backward) {
        t.dgate[here] = t.dy[here] * z;
        t.du[here] = correlated(t, tile, s, lane);
      } else {
        t.y[here] = z * t.gate[here];
      }
    }
    if (!t.backward) continue;
    for (int k = warp; k <= t.taps; k += WARPS) {
      tile.sums[k * WARP + lane] = gathered(t, tile, tile.sums[k * WARP + lane], k, lane);
    }
  }
  if (!t.backward || !real) return;
  double* const partial = t.partials + chunk * (t.taps + 1) * t.width + feature;
  for (int k = warp; k <= t.taps; k += WARPS) partial[static_cast<std::int64_t>(k) * t.width] = tile.sums[k * WARP + lane];
}

__global__ void __launch_bounds__(THREADS) sum_chunks(ConvolutionTask t) {
  const int size = (t.taps + 1) * t.width, e = static_cast<int>(blockIdx.x * THREADS + threadIdx.x);
  if (e >= size) return;
  double sum = 0.0;
  for (std::int64_t chunk = 0; chunk < convolution_chunks(t); ++chunk) sum = sum + t.partials[chunk * size + e];
  t.sums[e] = sum;
}

}  // namespace

bool ready(const ConvolutionTask& task) { return granted(convolution, shared_bytes(task)); }

const char* run(const ConvolutionTask& task, void* stream) {
  const std::int64_t blocks = convolution_chunks(task) * ((task.width + WARP - 1) / WARP);
  const char* error = nullptr;
  if (blocks > 0) error = start(convolution, blocks, THREADS, shared_bytes(task), stream, task);
  if (error != nullptr || !task.backward) return error;
  const std::int64_t size = (std::int64_t(task.taps) + 1) * task.width;
  return start(sum_chunks, (size + THREADS - 1) / THREADS, THREADS, 0, stream, task);
}

}  // namespace precisionlab::device
