// The kernels of each instruction set, as tables of functions over ranges of lane groups.
#pragma once

#include <cstdint>

#include "portable.h"

namespace precisionlab {

constexpr int LANES = 8;  // problems in a lane group, on every instruction set

// Chebyshev's method as a solver runs it that stops each problem by itself: `spread` (batch) holds δ. norms (steps, 2, batch)
// receives ‖b − A x‖² and ‖Aᵀ(A x − b)‖² of every iterate but the last. direction (batch, n) and rho (batch) are the
// recurrence: read where `resumed`, written at the end.
struct Watch {
  const double* spread;
  double* norms;
  double* direction;
  double* rho;
  bool resumed;
};

// Iterates on `batch` problems: A (batch, m, n), b (batch, m), x0 (batch, n), all contiguous; out (steps + 1, batch, n).
// Gradient descent: `step` (batch) holds η of each problem. Chebyshev, where there is a watch.spread: θ; residual form, on the
// CPU.
struct IteratesTask {
  const double* A;
  const double* b;
  const double* x0;
  const double* step;
  double* out;
  std::int64_t batch;
  int m, n, steps;
  bool gram;
  Watch watch;
};

// One Newton-Schulz step X ← 2X − (X A) X: A (batch, m, n), X and out (batch, n, m). defect (batch) receives ‖I − X A‖_F of
// the new X.
struct SchulzTask {
  const double* A;
  const double* X;
  double* out;
  double* defect;
  std::int64_t batch;
  int m, n;
};

// Least squares by Householder QR on `batch` problems: A (batch, m, n), b (batch, m), m >= n.
// x is (batch, n); R (batch, n, n), upper triangular; measures (6, batch): the largest and the smallest of the maxima of
// |A| along its rows; ‖R‖_F, the smallest norm of a column of R, κ (triangular.h); ‖b − A x‖.
struct HouseholderTask {
  const double* A;
  const double* b;
  double* x;
  double* R;
  double* measures;
  std::int64_t batch;
  int m, n;
};

// Least squares by the normal equations on `batch` problems: A (batch, m, n), b (batch, m), m >= n.
// x is (batch, n); R (batch, n, n), upper triangular, NaN from a pivot on that is not positive; measures (4, batch): ‖R‖_F,
// the smallest norm of a column of R, κ (triangular.h), ‖b − A x‖.
struct CholeskyTask {
  const double* A;
  const double* b;
  double* x;
  double* R;
  double* measures;
  std::int64_t batch;
  int m, n;
};

constexpr int CONVOLUTION_CHUNK = 8;  // sequences whose filter gradients are summed before they are written

// Gated convolution, y = gate (filter * u + bias), (filter * u)_s = Σ_k filter_k u_(s−first−k), first <= 0: u, gate, y, dy,
// du, dgate (batch, tokens, width), filter (taps, width), bias (width). Backward writes du, dgate and sums (taps + 1, width),
// the gradients of filter and bias, by way of partials (convolution_chunks, taps + 1, width).
struct ConvolutionTask {
  const double* u;
  const double* gate;
  const double* filter;
  const double* bias;
  const double* dy;
  double* y;
  double* du;
  double* dgate;
  double* partials;
  double* sums;
  std::int64_t batch;
  int tokens, width, taps, first;
  bool backward;
};

PL_HD std::int64_t convolution_chunks(const ConvolutionTask& t) {
  return (t.batch + CONVOLUTION_CHUNK - 1) / CONVOLUTION_CHUNK;
}

// What a sum over a filter runs over, so that all it meets lies inside the sequence.
struct Range {
  int from, to;
};

// k of h_k u_(s−first−k)
PL_HD Range taps_before(const ConvolutionTask& t, int s) {
  const int from = s - t.first - t.tokens + 1, to = s - t.first + 1;
  return {from > 0 ? from : 0, to < t.taps ? to : t.taps};
}
// k of h_k dz_(s+first+k)
PL_HD Range taps_after(const ConvolutionTask& t, int s) {
  const int from = -t.first - s, to = t.tokens - s - t.first;
  return {from > 0 ? from : 0, to < t.taps ? to : t.taps};
}
// s of dz_s u_(s−first−k)
PL_HD Range tokens_under(const ConvolutionTask& t, int k) {
  const int lag = t.first + k;
  return {lag > 0 ? lag : 0, lag < 0 ? t.tokens + lag : t.tokens};
}

// A kernel works on a range of lane groups with a workspace of its own, of as many doubles as it says it needs.
template <class Task>
struct Kernel {
  void (*run)(const Task&, std::int64_t first_group, std::int64_t last_group, double* workspace);
  std::int64_t (*workspace)(const Task&);
};

struct Level {
  const char* name;
  bool fast_fma;  // false: fma is a library call, exact but slower than eager code
  Kernel<IteratesTask> iterates;
  Kernel<SchulzTask> schulz;
  Kernel<HouseholderTask> householder;
  Kernel<CholeskyTask> cholesky;
  Kernel<ConvolutionTask> convolution;
};

// The level called `name`, or the fastest that the processor has where `name` is empty; nullptr where there is none.
const Level* find_level(const char* name);
// The i-th level that the processor has, slowest first; nullptr past the last.
const Level* level_at(int i);

// Each returns false where memory ran out. `threads` is an upper bound; results do not depend on it.
bool run(const Level& level, const IteratesTask& task, int threads);
bool run(const Level& level, const SchulzTask& task, int threads);
bool run(const Level& level, const HouseholderTask& task, int threads);
bool run(const Level& level, const CholeskyTask& task, int threads);
bool run(const Level& level, const ConvolutionTask& task, int threads);

}  // namespace precisionlab
