// Least squares min ‖b − A x‖ by the normal equations for one small problem (one per lane of T): AᵀA = RᵀR by Cholesky's
// factorisation row by row, Rᵀ z = Aᵀb, R x = z. A pivot that is not positive makes NaN of its row and of all that
// follows. Squares must neither over- nor underflow: the caller sees to the scale.
#pragma once

#include "iterates.h"
#include "portable.h"

namespace precisionlab {

// On exit the upper triangle of G (n × n) is R, x the solution, and b the residual b − A x.
template <class T, int D>
PL_HD void cholesky_least_squares(const T* A, T* b, int m, int n_runtime, T* G, T* x) {
  const int n = D > 0 ? D : n_runtime;
  gram<T, D>(A, b, m, n, G, x);
  each<D>(n, [&](int k) {
    T* const row = G + k * n;
    each_between<D>(0, k, [&](int i) {
      const T* const above = G + i * n;
      each_between<D>(k, n, [&](int j) { row[j] = nmadd(above[k], above[j], row[j]); });
      x[k] = nmadd(above[k], x[i], x[k]);
    });
    const T pivot = root(row[k]);
    row[k] = pivot;
    each_between<D>(k + 1, n, [&](int j) { row[j] = row[j] / pivot; });
    x[k] = x[k] / pivot;
  });
  each<D>(n, [&](int done) {
    const int i = n - 1 - done;
    each_between<D>(i + 1, n, [&](int j) { x[i] = nmadd(G[i * n + j], x[j], x[i]); });
    x[i] = x[i] / G[i * n + i];
  });
  for (int i = 0; i < m; ++i) {
    each<D>(n, [&](int j) { b[i] = nmadd(A[i * n + j], x[j], b[i]); });
  }
}

}  // namespace precisionlab
