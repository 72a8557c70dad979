// Iterates of gradient descent and Chebyshev's method, eight problems at a time. Compiled once per instruction set.
#include "precisionlab/iterates.h"

#include "precisionlab/dispatch.h"
#include "tiles.h"

namespace precisionlab::PL_LEVEL {

namespace {

struct Group {
  Lanes* A;
  Lanes* b;
  Lanes* G;
  Lanes* c;
  double* staged;  // two spread iterates
};

std::int64_t workspace_doubles(const IteratesTask& t) {
  const std::int64_t n = t.n, m = t.m;
  const std::int64_t lanes = m * n + m + (t.gram ? n * n + n : 0);
  return LANES * lanes + 2 * (LANES * n + LANES);
}

Group carve(const IteratesTask& t, double* workspace) {
  auto* lanes = reinterpret_cast<Lanes*>(workspace);
  Group g{};
  g.A = lanes, lanes += static_cast<std::int64_t>(t.m) * t.n;
  g.b = lanes, lanes += t.m;
  g.G = lanes, lanes += t.gram ? static_cast<std::int64_t>(t.n) * t.n : 0;
  g.c = lanes, lanes += t.gram ? t.n : 0;
  g.staged = reinterpret_cast<double*>(lanes);
  return g;
}

template <int D>
void run_group(const IteratesTask& t, std::int64_t group, const Group& w) {
  const int n = D > 0 ? D : t.n;
  const std::int64_t first = group * LANES;
  const int rows = t.batch - first < LANES ? static_cast<int>(t.batch - first) : LANES;
  const std::int64_t plane = t.batch * n;
  const bool past_cache = (t.steps + 1) * plane * 8 > STREAMED_BYTES, chebyshev = t.watch.spread != nullptr;
  gather(t.A + first * t.m * n, static_cast<std::int64_t>(t.m) * n, t.m * n, rows, w.A);
  gather(t.b + first * t.m, t.m, t.m, rows, w.b);
  if (t.gram) gram<Lanes, D>(w.A, w.b, t.m, n, w.G, w.c);

  Lanes x[WIDTH<D>], g[WIDTH<D>], direction[WIDTH<D>], step(0.0);
  Chebyshev<Lanes> recurrence{};
  gather(t.x0 + first * n, n, n, rows, x);
  gather(t.step + first, 1, 1, rows, &step);
  if (chebyshev) {
    recurrence.theta = step;
    gather(t.watch.spread + first, 1, 1, rows, &recurrence.delta);
  }
  if (t.watch.resumed) {
    gather(t.watch.direction + first * n, n, n, rows, direction);
    gather(t.watch.rho + first, 1, 1, rows, &recurrence.rho);
  }
  // An iterate is spread into one stage while the one before leaves the other: its loads then find finished stores.
  double* stage = w.staged;
  double* waiting = w.staged + LANES * n + LANES;
  double* out = t.out + first * n;
  for (int k = 0; k < t.steps; ++k) {
    spread(x, n, stage);
    if (k > 0) flush(waiting, n, rows, past_cache, out + (k - 1) * plane);
    double* const swap = stage;
    stage = waiting, waiting = swap;
    if (t.gram) {
      gram_gradient<Lanes, D>(w.G, w.c, n, x, g);
    } else if (chebyshev) {
      Lanes squares[2];
      watched_gradient<Lanes, D>(w.A, w.b, t.m, n, x, g, squares);
      store_some(squares[0], t.watch.norms + 2 * k * t.batch + first, rows);
      store_some(squares[1], t.watch.norms + (2 * k + 1) * t.batch + first, rows);
    } else {
      residual_gradient<Lanes, D>(w.A, w.b, t.m, n, x, g);
    }
    if (!chebyshev) {
      descend<Lanes, D>(step, g, n, x);
    } else if (k == 0 && !t.watch.resumed) {
      recurrence.first<D>(g, n, direction, x);
    } else {
      recurrence.next<D>(g, n, direction, x);
    }
  }
  if (t.steps > 0) flush(waiting, n, rows, past_cache, out + (t.steps - 1) * plane);
  spread(x, n, stage);
  flush(stage, n, rows, false, out + t.steps * plane);
  if (chebyshev) {
    spread(direction, n, stage);
    flush(stage, n, rows, false, t.watch.direction + first * n);
    store_some(recurrence.rho, t.watch.rho + first, rows);
  }
}

template <int D>
void run_groups(const IteratesTask& t, std::int64_t first, std::int64_t last, const Group& w) {
  for (std::int64_t group = first; group < last; ++group) run_group<D>(t, group, w);
}

void iterates(const IteratesTask& t, std::int64_t first, std::int64_t last, double* workspace) {
  const Group w = carve(t, workspace);
#if PL_FAST_FMA
  static constexpr decltype(&run_groups<0>) runners[] = {
      run_groups<0>,  run_groups<1>,  run_groups<2>,  run_groups<3>,  run_groups<4>,  run_groups<5>,
      run_groups<6>,  run_groups<7>,  run_groups<8>,  run_groups<9>,  run_groups<10>, run_groups<11>,
      run_groups<12>, run_groups<13>, run_groups<14>, run_groups<15>, run_groups<16>};
  runners[t.n <= 16 ? t.n : 0](t, first, last, w);
#else
  run_groups<0>(t, first, last, w);
#endif
  fence();
}

}  // namespace

extern const Kernel<IteratesTask> iterates_kernel;
const Kernel<IteratesTask> iterates_kernel = {iterates, workspace_doubles};

}  // namespace precisionlab::PL_LEVEL
