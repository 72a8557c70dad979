// Iterates of a first-order method on one least-squares problem min ‖b − A x‖ (one per lane of T).
//
//   x(t+1) = x(t) − α(t) g(t) + β(t) (x(t) − x(t−1)),     g(t) = Aᵀ(A x(t) − b)
//
// Gradient descent has α constant and β = 0; Chebyshev's method prescribes both. D is the number of columns where the
// compiler is to know it, and 0 where it is read from `d`, at most MAX_COLUMNS.
#pragma once

#include "portable.h"

namespace precisionlab {

constexpr int MAX_COLUMNS = 32;

template <int D>
constexpr int WIDTH = D > 0 ? D : MAX_COLUMNS;

// g = Aᵀ(A x − b), one pass over the rows: r_i is summed from −b_i, and used while row i is at hand.
template <class T, int D>
PL_HD void residual_gradient(const T* A, const T* b, int m, int d_runtime, const T* x, T* g) {
  const int d = D > 0 ? D : d_runtime;
  each<D>(d, [&](int j) { g[j] = T(0.0); });
  for (int i = 0; i < m; ++i, A += d) {
    T r = -b[i];
    each<D>(d, [&](int j) { r = madd(A[j], x[j], r); });
    each<D>(d, [&](int j) { g[j] = madd(A[j], r, g[j]); });
  }
}

// G = AᵀA and c = Aᵀb, the sums taken row by row.
template <class T, int D>
PL_HD void gram(const T* A, const T* b, int m, int d_runtime, T* G, T* c) {
  const int d = D > 0 ? D : d_runtime;
  for (int j = 0; j < d; ++j) {
    T row[WIDTH<D> + 1];
    for (int k = 0; k <= d; ++k) row[k] = T(0.0);
    for (int i = 0; i < m; ++i) {
      const T a = A[i * d + j];
      for (int k = j; k < d; ++k) row[k] = madd(a, A[i * d + k], row[k]);
      row[d] = madd(a, b[i], row[d]);
    }
    for (int k = j; k < d; ++k) G[j * d + k] = G[k * d + j] = row[k];
    c[j] = row[d];
  }
}

// g = G x − c, every component summed from −c_j in the order of the columns.
template <class T, int D>
PL_HD void gram_gradient(const T* G, const T* c, int d_runtime, const T* x, T* g) {
  const int d = D > 0 ? D : d_runtime;
  each<D>(d, [&](int j) { g[j] = -c[j]; });
  each<D>(d, [&](int k) { each<D>(d, [&](int j) { g[j] = madd(G[k * d + j], x[k], g[j]); }); });
}

// x ← x − α g
template <class T, int D>
PL_HD void descend(T alpha, const T* g, int d_runtime, T* x) {
  const int d = D > 0 ? D : d_runtime;
  each<D>(d, [&](int j) { x[j] = nmadd(alpha, g[j], x[j]); });
}

// (x, p) ← (x − α g + β (x − p), x), where p is the iterate before.
template <class T, int D>
PL_HD void descend_with_memory(T alpha, T beta, const T* g, int d_runtime, T* x, T* previous) {
  const int d = D > 0 ? D : d_runtime;
  each<D>(d, [&](int j) {
    const T here = x[j];
    x[j] = nmadd(alpha, g[j], madd(beta, here - previous[j], here));
    previous[j] = here;
  });
}

}  // namespace precisionlab
