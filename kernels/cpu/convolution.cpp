// Gated convolution, forward and backward. Compiled once per instruction set.
//
// Here a lane group is eight neighbouring features of one sequence, not eight problems: that is how activations lie.
#include "precisionlab/dispatch.h"
#include "tiles.h"

namespace precisionlab::PL_LEVEL {

namespace {

PL_INLINE Lanes load_some(const double* p, int count) {
  if (count >= 8) return Lanes::load(p);
  double lane[8] = {};
  for (int i = 0; i < count; ++i) lane[i] = p[i];
  return Lanes::load(lane);
}

// A group is a chunk of CONVOLUTION_CHUNK sequences: the sums over the batch are taken chunk by chunk, so that their
// order does not depend on the threads.
std::int64_t convolution_doubles(const ConvolutionTask& t) {
  return LANES * (5 * std::int64_t(t.tokens) + 2 * std::int64_t(t.taps) + 1);
}

// sums[s] = bias + Σ_k h_k u_(s−first−k)
PL_INLINE void convolve(const ConvolutionTask& t, const Lanes* u, const Lanes* h, Lanes bias, Lanes* sums) {
  for (int s = 0; s < t.tokens; ++s) {
    Lanes sum = bias;
    const Range range = taps_before(t, s);
    for (int k = range.from; k < range.to; ++k) sum = madd(h[k], u[s - t.first - k], sum);
    sums[s] = sum;
  }
}

void convolution(const ConvolutionTask& t, std::int64_t first, std::int64_t last, double* workspace) {
  Lanes* const u = reinterpret_cast<Lanes*>(workspace);
  Lanes *const z = u + t.tokens, *const dz = z + t.tokens, *const h = dz + t.tokens, *const dh = h + t.taps;
  for (std::int64_t chunk = first; chunk < last; ++chunk) {
    const std::int64_t begin = chunk * CONVOLUTION_CHUNK;
    const std::int64_t end = begin + CONVOLUTION_CHUNK < t.batch ? begin + CONVOLUTION_CHUNK : t.batch;
    for (int c = 0; c < t.width; c += 8) {
      const int some = t.width - c;
      const Lanes bias = load_some(t.bias + c, some);
      for (int k = 0; k < t.taps; ++k) h[k] = load_some(t.filter + std::int64_t(k) * t.width + c, some);
      for (int k = 0; k <= t.taps; ++k) dh[k] = Lanes(0.0);
      for (std::int64_t sequence = begin; sequence < end; ++sequence) {
        const std::int64_t at = sequence * t.tokens * t.width + c;
        for (int s = 0; s < t.tokens; ++s) u[s] = load_some(t.u + at + std::int64_t(s) * t.width, some);
        convolve(t, u, h, bias, z);
        if (!t.backward) {
          for (int s = 0; s < t.tokens; ++s) {
            const std::int64_t here = at + std::int64_t(s) * t.width;
            store_some(z[s] * load_some(t.gate + here, some), t.y + here, some);
          }
          continue;
        }
        for (int s = 0; s < t.tokens; ++s) {
          const std::int64_t here = at + std::int64_t(s) * t.width;
          const Lanes dy = load_some(t.dy + here, some);
          store_some(dy * z[s], t.dgate + here, some);
          dz[s] = dy * load_some(t.gate + here, some);
          dh[t.taps] = dh[t.taps] + dz[s];
        }
        for (int s = 0; s < t.tokens; ++s) {
          Lanes sum(0.0);
          const Range range = taps_after(t, s);
          for (int k = range.from; k < range.to; ++k) sum = madd(h[k], dz[s + t.first + k], sum);
          store_some(sum, t.du + at + std::int64_t(s) * t.width, some);
        }
        for (int k = 0; k < t.taps; ++k) {
          Lanes sum = dh[k];
          const Range range = tokens_under(t, k);
          for (int s = range.from; s < range.to; ++s) sum = madd(dz[s], u[s - t.first - k], sum);
          dh[k] = sum;
        }
      }
      if (t.backward) {
        double* const partial = t.partials + chunk * (t.taps + 1) * t.width + c;
        for (int k = 0; k <= t.taps; ++k) store_some(dh[k], partial + std::int64_t(k) * t.width, some);
      }
    }
  }
}

}  // namespace

extern const Kernel<ConvolutionTask> convolution_kernel;
const Kernel<ConvolutionTask> convolution_kernel = {convolution, convolution_doubles};

}  // namespace precisionlab::PL_LEVEL
