// Least squares min ‖b − A x‖ by the normal equations for one small problem (one per lane of T): AᵀA = RᵀR by Cholesky's
// factorisation row by row, Rᵀ z = Aᵀb, R x = z. A pivot that is not positive makes NaN of its row and of all that
// follows. Squares must neither over- nor underflow: the caller sees to the scale.
#pragma once

#include "iterates.h"
#include "portable.h"

namespace precisionlab {

// On exit the upper triangle of G (n × n) is R, squares the diagonal of AᵀA, and x the solution.
template <class T, int D>
PL_HD void cholesky_least_squares(const T* A, const T* b, int m, int n_runtime, T* G, T* squares, T* x) {
  const int n = D > 0 ? D : n_runtime;
  gram<T, D>(A, b, m, n, G, x);
  each<D>(n, [&](int j) { squares[j] = G[j * n + j]; });
  for (int k = 0; k < n; ++k) {
    T* const row = G + k * n;
    for (int i = 0; i < k; ++i) {
      const T* const above = G + i * n;
      for (int j = k; j < n; ++j) row[j] = nmadd(above[k], above[j], row[j]);
      x[k] = nmadd(above[k], x[i], x[k]);
    }
    const T pivot = root(row[k]);
    row[k] = pivot;
    for (int j = k + 1; j < n; ++j) row[j] = row[j] / pivot;
    x[k] = x[k] / pivot;
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int j = i + 1; j < n; ++j) x[i] = nmadd(G[i * n + j], x[j], x[i]);
    x[i] = x[i] / G[i * n + i];
  }
}

}  // namespace precisionlab
