// Iterates of gradient descent and of Chebyshev's method on one least-squares problem min ‖b − A x‖ (one per lane of T).
//
// Both add a direction d to x, made from the gradient g = Aᵀ(A x − b):
//   gradient descent:  d = −η g
//   Chebyshev:         d₀ = −g₀/θ, ρ₀ = δ/θ, and then  ρ' = δ/(2θ − ρδ),  d ← ρ'ρ d − 2g/(2θ − ρδ)
// D is the number of columns where the compiler is to know it, and 0 where it is read from `d`, at most MAX_COLUMNS.
#pragma once

#include "portable.h"

namespace precisionlab {

constexpr int MAX_COLUMNS = 32;

template <int D>
constexpr int WIDTH = D > 0 ? D : MAX_COLUMNS;

// g = Aᵀ(A x − b), one pass over the rows: r_i is summed from −b_i, and used while row i is at hand. M is the number of
// rows where the compiler is to know it, to keep them in registers, else 0.
template <class T, int D, int M = 0>
PL_HD void residual_gradient(const T* A, const T* b, int m, int d_runtime, const T* x, T* g) {
  const int d = D > 0 ? D : d_runtime;
  each<D>(d, [&](int j) { g[j] = T(0.0); });
  each<M>(m, [&](int i) {
    const T* const row = A + i * d;
    T r = -b[i];
    each<D>(d, [&](int j) { r = madd(row[j], x[j], r); });
    each<D>(d, [&](int j) { g[j] = madd(row[j], r, g[j]); });
  });
}

// The same gradient, to the bit, with squares[0] = ‖A x − b‖² and squares[1] = ‖g‖² for those who watch.
template <class T, int D>
PL_HD void watched_gradient(const T* A, const T* b, int m, int d_runtime, const T* x, T* g, T* squares) {
  const int d = D > 0 ? D : d_runtime;
  squares[0] = squares[1] = T(0.0);
  each<D>(d, [&](int j) { g[j] = T(0.0); });
  for (int i = 0; i < m; ++i) {
    const T* const row = A + i * d;
    T r = -b[i];
    each<D>(d, [&](int j) { r = madd(row[j], x[j], r); });
    each<D>(d, [&](int j) { g[j] = madd(row[j], r, g[j]); });
    squares[0] = madd(r, r, squares[0]);
  }
  each<D>(d, [&](int j) { squares[1] = madd(g[j], g[j], squares[1]); });
}

// G = AᵀA and c = Aᵀb, the sums taken row by row.
template <class T, int D>
PL_HD void gram(const T* A, const T* b, int m, int d_runtime, T* G, T* c) {
  const int d = D > 0 ? D : d_runtime;
  each<D>(d, [&](int j) {
    T row[WIDTH<D>], right(0.0);
    each_between<D>(j, d, [&](int k) { row[k] = T(0.0); });
    for (int i = 0; i < m; ++i) {
      const T a = A[i * d + j];
      each_between<D>(j, d, [&](int k) { row[k] = madd(a, A[i * d + k], row[k]); });
      right = madd(a, b[i], right);
    }
    each_between<D>(j, d, [&](int k) { G[j * d + k] = G[k * d + j] = row[k]; });
    c[j] = right;
  });
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

// Chebyshev's recurrence for the spectrum [θ − δ, θ + δ] of AᵀA.
template <class T>
struct Chebyshev {
  T theta, delta, rho;

  // d ← −g/θ, x ← x + d
  template <int D>
  PL_HD void first(const T* g, int d_runtime, T* direction, T* x) {
    const int d = D > 0 ? D : d_runtime;
    const T step = T(-1.0) / theta;
    rho = delta / theta;
    each<D>(d, [&](int j) {
      direction[j] = step * g[j];
      x[j] = x[j] + direction[j];
    });
  }

  // d ← ρ'ρ d − 2g/(2θ − ρδ), x ← x + d
  template <int D>
  PL_HD void next(const T* g, int d_runtime, T* direction, T* x) {
    const int d = D > 0 ? D : d_runtime;
    const T denominator = nmadd(rho, delta, theta + theta);
    const T rho_next = delta / denominator;
    const T kept = rho_next * rho, step = T(-2.0) / denominator;
    rho = rho_next;
    each<D>(d, [&](int j) {
      direction[j] = madd(kept, direction[j], step * g[j]);
      x[j] = x[j] + direction[j];
    });
  }
};

}  // namespace precisionlab
