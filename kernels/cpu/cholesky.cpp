// Least squares by the normal equations, eight problems at a time. Compiled once per instruction set.
#include "precisionlab/cholesky.h"

#include "precisionlab/dispatch.h"
#include "precisionlab/triangular.h"
#include "tiles.h"

namespace precisionlab::PL_LEVEL {

namespace {

std::int64_t workspace_doubles(const CholeskyTask& t) {
  const std::int64_t n = t.n, m = t.m;
  return LANES * (m * n + m + n + n * n) + LANES * (n * n + 1);  // what `spread` stages, and its overhang
}

template <int D>
void run_group(const CholeskyTask& t, std::int64_t group, double* workspace) {
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
  cholesky_least_squares<Lanes, D>(A, b, m, n, R, x);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < i; ++j) R[i * n + j] = Lanes(0.0);
  }
  spread(x, n, stage);
  flush(stage, n, rows, false, t.x + first * n);
  spread(R, n * n, stage);
  flush(stage, n * n, rows, false, t.R + first * n * n);
  const Factor<Lanes> factor = judge<Lanes, D, WIDTH<D>>(R, n);
  const Lanes measures[] = {factor.size, factor.smallest, factor.condition, length<Lanes>(b, 0, m)};
  for (int k = 0; k < 4; ++k) store_some(measures[k], t.measures + k * t.batch + first, rows);
}

template <int D>
void run_groups(const CholeskyTask& t, std::int64_t first, std::int64_t last, double* workspace) {
  for (std::int64_t group = first; group < last; ++group) run_group<D>(t, group, workspace);
}

void cholesky(const CholeskyTask& t, std::int64_t first, std::int64_t last, double* workspace) {
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

extern const Kernel<CholeskyTask> cholesky_kernel;
const Kernel<CholeskyTask> cholesky_kernel = {cholesky, workspace_doubles};

}  // namespace precisionlab::PL_LEVEL
