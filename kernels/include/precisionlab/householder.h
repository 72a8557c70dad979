// Least squares min ‖b − A x‖ by Householder QR of [A b] for one small problem (one per lane of T), m ≥ n.
//
// The reflection of column k is H = I − γ v vᵀ with v = (a_kk − β, a_(k+1)k, …), β = −sign(a_kk)‖a_k‖ and
// γ = −1/(β v_0); v is not normalised, so no entry is divided. One pass over the rows applies H to the columns on the
// right (b is the last of them) and, while a row is at hand, sums the inner products that the next reflection needs.
// Squares must neither over- nor underflow: the caller sees to the scale.
#pragma once

#include "portable.h"

namespace precisionlab {

// body(from), …, body(to − 1), written out where TO > 0 says that both ends are known.
template <int FROM, int TO, class Body>
PL_HD void each_from(int from, int to, const Body& body) {
  if constexpr (TO > 0) {
    each<(TO > FROM ? TO - FROM : 0)>(0, [&](int j) { body(FROM + j); });
  } else {
    for (int j = from; j < to; ++j) body(j);
  }
}

// Reflection k of n. t[j] holds Σ a_ik a_ij over the rows below k on entry, and the same for column k + 1 on exit;
// j = n stands for b. D and K are n and k where the compiler is to know them, else D = 0.
// Storage is a pointer to T, or acts like one.
template <class T, int D, int K, class Storage>
PL_HD void reflect(Storage A, Storage b, int m, int n_runtime, int k_runtime, T* t, T* s) {
  const int n = D > 0 ? D : n_runtime, k = D > 0 ? K : k_runtime;
  constexpr int NEXT = D > 0 ? K + 1 : 0;
  const Storage head = A + k * n;
  const T below = t[k], alpha = head[k];
  const T beta = -with_sign(root(madd(alpha, alpha, below)), alpha);
  const T v0 = alpha - beta;
  // Nothing below the diagonal, nothing to reflect: H = I, as LAPACK has it.
  const T gamma = where_zero(below, T(0.0), T(-1.0) / (beta * v0));
  head[k] = where_zero(below, alpha, beta);
  each_from<NEXT, D>(k + 1, n, [&](int j) {
    s[j] = gamma * madd(v0, head[j], t[j]);
    head[j] = nmadd(s[j], v0, head[j]);
    t[j] = T(0.0);
  });
  s[n] = gamma * madd(v0, b[k], t[n]);
  b[k] = nmadd(s[n], v0, b[k]);
  t[n] = T(0.0);
  if (k + 1 >= m) return;
  Storage row = head + n;
  each_from<NEXT, D>(k + 1, n, [&](int j) { row[j] = nmadd(s[j], row[k], row[j]); });
  b[k + 1] = nmadd(s[n], row[k], b[k + 1]);
  for (int i = k + 2; i < m; ++i) {
    row = row + n;
    const T v = row[k];
    b[i] = nmadd(s[n], v, b[i]);
    T next = b[i];
    each_from<NEXT, D>(k + 1, n, [&](int j) {
      row[j] = nmadd(s[j], v, row[j]);
      if (j == k + 1) next = row[j];
      t[j] = madd(next, row[j], t[j]);
    });
    t[n] = madd(next, b[i], t[n]);
  }
}

template <class T, int D, int K, class Storage>
PL_HD void reflect_from(Storage A, Storage b, int m, T* t, T* s) {
  if constexpr (K < D) {
    reflect<T, D, K>(A, b, m, D, K, t, s);
    reflect_from<T, D, K + 1>(A, b, m, t, s);
  }
}

// On exit the upper triangle of the first n rows of A is R, b is Qᵀb, and x solves R x = (Qᵀb)(1..n).
// WIDE is a bound on n + 1.
template <class T, int D, int WIDE, class Storage>
PL_HD void householder_least_squares(Storage A, Storage b, int m, int n_runtime, T* x) {
  const int n = D > 0 ? D : n_runtime;
  T t[WIDE], s[WIDE];
  each<D>(n, [&](int j) { t[j] = T(0.0); });
  t[n] = T(0.0);
  for (int i = 1; i < m; ++i) {
    const T v = A[i * n];
    each<D>(n, [&](int j) { t[j] = madd(v, A[i * n + j], t[j]); });
    t[n] = madd(v, b[i], t[n]);
  }
  if constexpr (D > 0) {
    reflect_from<T, D, 0>(A, b, m, t, s);
  } else {
    for (int k = 0; k < n; ++k) reflect<T, 0, 0>(A, b, m, n, k, t, s);
  }
  each<D>(n, [&](int done) {
    const int i = n - 1 - done;
    T c = b[i];
    each<D>(n, [&](int j) {
      if (j > i) c = nmadd(A[i * n + j], x[j], c);
    });
    x[i] = c / A[i * n + i];
  });
}

}  // namespace precisionlab
