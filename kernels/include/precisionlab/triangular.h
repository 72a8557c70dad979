// What a caller must know of a triangular factor R before it trusts a solution, for one small problem (one per lane of T).
//
// κ = ‖R D‖_F ‖(R D)⁻¹‖_F, D a power of two for each column that brings its largest entry into [1, 2): at least the
// condition number of R D in the 2-norm and at most n times that; inf where a pivot is zero, something is not finite or the
// inverse overflows. Entries of R D and of its inverse are those of R and R⁻¹ times powers of two, so R is not scaled.
#pragma once

#include "portable.h"

namespace precisionlab {

// ‖R‖_F, the smallest norm of a column, and κ. The first two are NaN, inf or 0 where squares over- or underflowed.
template <class T>
struct Factor {
  T size, smallest, condition;
};

// R has n columns and rows; what lies below its diagonal is not read. WIDE is a bound on n. Storage is a pointer to T, or
// acts like one.
template <class T, int D, int WIDE, class Storage>
PL_HD Factor<T> judge(Storage R, int n_runtime) {
  const int n = D > 0 ? D : n_runtime;
  T unit[WIDE], reciprocal[WIDE], y[WIDE];
  T squares(0.0), least(INFINITY), scaled(0.0), inverse(0.0);
  each<D>(n, [&](int j) {
    T largest(0.0), sum(0.0);
    each_between<D>(0, j + 1, [&](int i) {
      const T entry = R[i * n + j];
      largest = larger(largest, magnitude(entry));
      sum = madd(entry, entry, sum);
    });
    unit[j] = power_below(largest);
    reciprocal[j] = T(1.0) / R[j * n + j];
    squares = squares + sum;
    least = smaller(least, sum);
    scaled = scaled + sum / unit[j] / unit[j];
  });
  // Column j of R⁻¹, from its diagonal up.
  each<D>(n, [&](int j) {
    y[j] = reciprocal[j];
    const T foot = unit[j] * y[j];
    inverse = madd(foot, foot, inverse);
    each_between<D>(0, j, [&](int above) {
      const int i = j - 1 - above;
      T sum(0.0);
      each_between<D>(i + 1, j + 1, [&](int k) { sum = nmadd(R[i * n + k], y[k], sum); });
      y[i] = sum * reciprocal[i];
      const T entry = unit[i] * y[i];
      inverse = madd(entry, entry, inverse);
    });
  });
  return {root(squares), root(least), smaller(root(scaled) * root(inverse), T(INFINITY))};
}

// ‖v‖ of v_from … v_(to−1), which may be of any size.
template <class T, class Storage>
PL_HD T length(Storage v, int from, int to) {
  constexpr double SMALLEST_NORMAL = 0x1p-1022;
  T largest(0.0), sum(0.0);
  for (int i = from; i < to; ++i) largest = larger(largest, magnitude(v[i]));
  const T unit = larger(power_below(largest), T(SMALLEST_NORMAL)), shrink = T(1.0) / unit;
  for (int i = from; i < to; ++i) {
    const T entry = v[i] * shrink;
    sum = madd(entry, entry, sum);
  }
  return unit * root(sum);
}

}  // namespace precisionlab
