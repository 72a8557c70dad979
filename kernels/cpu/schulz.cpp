// A Newton-Schulz step, eight problems at a time. Compiled once per instruction set.
#include "precisionlab/schulz.h"

#include "precisionlab/dispatch.h"
#include "precisionlab/iterates.h"
#include "tiles.h"

namespace precisionlab::PL_LEVEL {

namespace {

std::int64_t workspace_doubles(const SchulzTask& t) {
  const std::int64_t n = t.n, m = t.m;
  return LANES * (2 * m * n + n * n) + LANES * (m * n + 1);
}

template <int D>
void run_group(const SchulzTask& t, std::int64_t group, double* workspace) {
  const int n = D > 0 ? D : t.n, m = t.m, entries = m * n;
  const std::int64_t first = group * LANES;
  const int rows = t.batch - first < LANES ? static_cast<int>(t.batch - first) : LANES;
  Lanes* const A = reinterpret_cast<Lanes*>(workspace);
  Lanes* const X = A + entries;
  Lanes* const P = X + entries;
  double* const stage = reinterpret_cast<double*>(P + n * n);
  gather(t.A + first * entries, entries, entries, rows, A);
  gather(t.X + first * entries, entries, entries, rows, X);
  schulz_step<Lanes, D, WIDTH<D>>(A, m, n, X, P);
  spread(X, entries, stage);
  flush(stage, entries, rows, t.batch * entries * 8 > STREAMED_BYTES, t.out + first * entries);
  store_some(schulz_defect<Lanes, D, WIDTH<D>>(A, m, n, X, P), t.defect + first, rows);
}

template <int D>
void run_groups(const SchulzTask& t, std::int64_t first, std::int64_t last, double* workspace) {
  for (std::int64_t group = first; group < last; ++group) run_group<D>(t, group, workspace);
}

void schulz(const SchulzTask& t, std::int64_t first, std::int64_t last, double* workspace) {
#if PL_FAST_FMA
  static constexpr decltype(&run_groups<0>) runners[] = {run_groups<0>, run_groups<1>, run_groups<2>,
                                                         run_groups<3>, run_groups<4>, run_groups<5>,
                                                         run_groups<6>, run_groups<7>, run_groups<8>};
  runners[t.n <= 8 ? t.n : 0](t, first, last, workspace);
#else
  run_groups<0>(t, first, last, workspace);
#endif
  fence();
}

}  // namespace

extern const Kernel<SchulzTask> schulz_kernel;
const Kernel<SchulzTask> schulz_kernel = {schulz, workspace_doubles};

}  // namespace precisionlab::PL_LEVEL
