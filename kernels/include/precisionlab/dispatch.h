// The kernels of each instruction set, as tables of functions over ranges of lane groups.
#pragma once

#include <cstdint>

namespace precisionlab {

constexpr int LANES = 8;  // problems in a lane group, on every instruction set

// Iterates on `batch` problems: A (batch, m, n), b (batch, m), x0 (batch, n), all contiguous.
// Gradient descent: `step` (batch) holds η of each problem. Chebyshev: `step` holds θ and `spread` δ, (batch) each.
// out is (steps + 1, batch, n) with `every`, else (1, batch, n).
struct IteratesTask {
  const double* A;
  const double* b;
  const double* x0;
  const double* step;
  const double* spread;
  double* out;
  std::int64_t batch;
  int m, n, steps;
  bool gram, chebyshev, every;
};

// Newton-Schulz iterates X ← 2X − (X A) X: A (batch, m, n), X0 (batch, n, m).
// out is (steps + 1, batch, n, m) with `every`, else (1, batch, n, m).
struct SchulzTask {
  const double* A;
  const double* X0;
  double* out;
  std::int64_t batch;
  int m, n, steps;
  bool every;
};

// Least squares by Householder QR on `batch` problems: A (batch, m, n), b (batch, m), m >= n.
// x is (batch, n); R (batch, n, n), upper triangular; rows (batch, 2), the largest and the smallest of the maxima of |A|
// along its rows.
struct HouseholderTask {
  const double* A;
  const double* b;
  double* x;
  double* R;
  double* rows;
  std::int64_t batch;
  int m, n;
};

// (batch, heads, tokens, width) with any strides but the last, which is one.
struct Sequences {
  double* data;  // never written where it is an input
  std::int64_t batch, head, token;
};

// Linear attention, y = (q kᵀ) v / tokens; the queries are those of the last tokens. Forward writes y. Backward reads y as
// the gradient of the output, and writes dq, dk and dv.
struct AttentionTask {
  Sequences q, k, v, y, dq, dk, dv;
  std::int64_t batch;
  int heads, queries, tokens, width;
  bool causal, backward;
};

constexpr int CONVOLUTION_CHUNK = 32;  // sequences whose filter gradients are summed before they are written

// Gated convolution, y = gate (filter * u + bias): u, gate, y, dy, du, dgate (batch, tokens, width), filter (taps, width),
// bias (width). Backward writes du, dgate and, for each chunk, partials (taps + 1, width): the gradients of filter and bias.
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
  std::int64_t batch;
  int tokens, width, taps;
  bool backward;
};

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
  Kernel<AttentionTask> attention;
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
bool run(const Level& level, const AttentionTask& task, int threads);
bool run(const Level& level, const ConvolutionTask& task, int threads);

}  // namespace precisionlab
