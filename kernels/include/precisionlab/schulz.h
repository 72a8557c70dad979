// Newton-Schulz iteration X ← 2X − (X A) X for the pseudo-inverse of one small matrix (one per lane of T): A is m×n, X is
// n×m, both by rows.
#pragma once

#include "portable.h"

namespace precisionlab {

// P = (X A)ᵀ, n×n: the step reads X A by columns. D is n where the compiler is to know it, else 0; WIDE is a bound on n.
template <class T, int D, int WIDE>
PL_HD void schulz_product(const T* A, int m, int n_runtime, const T* X, T* P) {
  const int n = D > 0 ? D : n_runtime;
  for (int i = 0; i < n; ++i) {
    T row[WIDE];
    each<D>(n, [&](int k) { row[k] = T(0.0); });
    for (int l = 0; l < m; ++l) {
      const T x = X[i * m + l];
      each<D>(n, [&](int k) { row[k] = madd(x, A[l * n + k], row[k]); });
    }
    each<D>(n, [&](int k) { P[k * n + i] = row[k]; });
  }
}

// ‖I − X A‖_F
template <class T, int D, int WIDE>
PL_HD T schulz_defect(const T* A, int m, int n_runtime, const T* X, T* P) {
  const int n = D > 0 ? D : n_runtime;
  schulz_product<T, D, WIDE>(A, m, n, X, P);
  T sum(0.0);
  for (int i = 0; i < n; ++i) {
    each<D>(n, [&](int k) {
      const T e = k == i ? T(1.0) - P[i * n + k] : P[i * n + k];
      sum = madd(e, e, sum);
    });
  }
  return root(sum);
}

template <class T, int D, int WIDE>
PL_HD void schulz_step(const T* A, int m, int n_runtime, T* X, T* P) {
  const int n = D > 0 ? D : n_runtime;
  schulz_product<T, D, WIDE>(A, m, n, X, P);
  for (int l = 0; l < m; ++l) {
    T x[WIDE], y[WIDE];
    each<D>(n, [&](int i) {
      x[i] = X[i * m + l];
      y[i] = x[i] + x[i];
    });
    each<D>(n, [&](int k) { each<D>(n, [&](int i) { y[i] = nmadd(P[k * n + i], x[k], y[i]); }); });
    each<D>(n, [&](int i) { X[i * m + l] = y[i]; });
  }
}

}  // namespace precisionlab
