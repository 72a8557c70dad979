// Least squares by Householder QR, eight problems at a time. Compiled once per instruction set.
#include "precisionlab/householder.h"

#include "precisionlab/dispatch.h"
#include "precisionlab/iterates.h"
#include "precisionlab/triangular.h"
#include "tiles.h"

namespace precisionlab::PL_LEVEL {

namespace {

std::int64_t workspace_doubles(const HouseholderTask& t) {
  const std::int64_t n = t.n, m = t.m;
  return LANES * (m * n + m + n + n * n) + LANES * (n * n + 1);  // what `spread` stages, and its overhang
}

template <int D>
void run_group(const HouseholderTask& t, std::int64_t group, double* workspace) {
  const int n = D > 0 ? D : t.n, m = t.m;
  const std::int64_t first = group * LANES;
  const int rows = t.batch - first < LANES ? static_cast<int>(t.batch - first) : LANES;
  Lanes* const A = reinterpret_cast<Lanes*>(workspace);
  Lanes* const b = A + static_cast<std::int64_t>(m) * n;
  Lanes* const x = b + m;
  Lanes* const R = x + n;
  double* const stage = reinterpret_cast<double*>(R + n * n);
  gather(t.A + first * m * n, static_cast<std::int64_t>(m) * n, m * n, rows, A);
  gather(t.b + first * m, m, m, rows, b);
  const std::int64_t next = t.batch - first - LANES < LANES ? t.batch - first - LANES : LANES;
  if (next > 0 && m * n <= 256) expect_reads(t.A + (first + LANES) * m * n, next * m * n);  // what the first-level cache can take

  Lanes largest(0.0), smallest(__builtin_inf());
  for (int i = 0; i < m; ++i) {
    Lanes row = magnitude(A[i * n]);
    each<D>(n, [&](int j) { row = larger(row, magnitude(A[i * n + j])); });
    largest = larger(largest, row);
    smallest = smaller(smallest, row);
  }
  householder_least_squares<Lanes, D, WIDTH<D> + 1>(A, b, m, n, x);

  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) R[i * n + j] = j < i ? Lanes(0.0) : A[i * n + j];
  }
  spread(x, n, stage);
  flush(stage, n, rows, false, t.x + first * n);
  spread(R, n * n, stage);
  flush(stage, n * n, rows, false, t.R + first * n * n);
  const Factor<Lanes> factor = judge<Lanes, D, WIDTH<D>>(R, n);
  const Lanes measures[] = {largest, smallest, factor.size, factor.smallest, factor.condition, length<Lanes>(b, n, m)};
  for (int k = 0; k < 6; ++k) store_some(measures[k], t.measures + k * t.batch + first, rows);
}

template <int D>
void run_groups(const HouseholderTask& t, std::int64_t first, std::int64_t last, double* workspace) {
  for (std::int64_t group = first; group < last; ++group) run_group<D>(t, group, workspace);
}

void householder(const HouseholderTask& t, std::int64_t first, std::int64_t last, double* workspace) {
#if PL_FAST_FMA
  static constexpr decltype(&run_groups<0>) runners[] = {
      run_groups<0>, run_groups<1>, run_groups<2>,  run_groups<3>,  run_groups<4>,  run_groups<5>, run_groups<6>,
      run_groups<7>, run_groups<8>, run_groups<9>,  run_groups<10>, run_groups<11>, run_groups<12>};
  runners[t.n <= 12 ? t.n : 0](t, first, last, workspace);
#else
  run_groups<0>(t, first, last, workspace);
#endif
}

}  // namespace

extern const Kernel<HouseholderTask> householder_kernel;
const Kernel<HouseholderTask> householder_kernel = {householder, workspace_doubles};

}  // namespace precisionlab::PL_LEVEL
