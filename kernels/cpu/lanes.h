// Eight doubles, one of each problem in a lane group: the scalar type of the CPU kernels.
//
// All operations round as IEEE 754 says, and fma rounds once, so the three versions give the same bits. Everything lives
// in a namespace named after the instruction set: no symbol compiled for AVX-512 can be linked into the baseline.
#pragma once

#include <cmath>

#include "precisionlab/portable.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

// Where fma is a library call it takes nearly all the time, and unrolling for each number of columns would only cost
// compilation.
#if defined(__FP_FAST_FMA) || defined(__FMA__)
#define PL_FAST_FMA true
#else
#define PL_FAST_FMA false
#endif

#define PL_INLINE inline __attribute__((always_inline))

namespace precisionlab::PL_LEVEL {

#if defined(__AVX512F__)

struct Lanes {
  __m512d v;
  Lanes() = default;
  PL_INLINE Lanes(__m512d value) : v(value) {}
  PL_INLINE explicit Lanes(double value) : v(_mm512_set1_pd(value)) {}
  PL_INLINE static Lanes load(const double* p) { return _mm512_loadu_pd(p); }
  PL_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  PL_INLINE void stream(double* p) const { _mm512_stream_pd(p, v); }
};

PL_INLINE Lanes operator+(Lanes a, Lanes b) { return _mm512_add_pd(a.v, b.v); }
PL_INLINE Lanes operator-(Lanes a, Lanes b) { return _mm512_sub_pd(a.v, b.v); }
PL_INLINE Lanes operator*(Lanes a, Lanes b) { return _mm512_mul_pd(a.v, b.v); }
PL_INLINE Lanes operator/(Lanes a, Lanes b) { return _mm512_div_pd(a.v, b.v); }
PL_INLINE Lanes operator-(Lanes a) { return _mm512_xor_pd(a.v, _mm512_set1_pd(-0.0)); }
PL_INLINE Lanes madd(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_pd(a.v, b.v, c.v); }
PL_INLINE Lanes nmadd(Lanes a, Lanes b, Lanes c) { return _mm512_fnmadd_pd(a.v, b.v, c.v); }
PL_INLINE Lanes root(Lanes a) { return _mm512_sqrt_pd(a.v); }
PL_INLINE Lanes with_sign(Lanes a, Lanes b) {
  const __m512d sign = _mm512_set1_pd(-0.0);
  return _mm512_or_pd(_mm512_andnot_pd(sign, a.v), _mm512_and_pd(sign, b.v));
}
PL_INLINE Lanes magnitude(Lanes a) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), a.v); }
PL_INLINE Lanes power_below(Lanes a) {
  return _mm512_and_pd(a.v, _mm512_castsi512_pd(_mm512_set1_epi64(0x7ff0000000000000)));
}
PL_INLINE Lanes larger(Lanes a, Lanes b) { return _mm512_max_pd(a.v, b.v); }
PL_INLINE Lanes smaller(Lanes a, Lanes b) { return _mm512_min_pd(a.v, b.v); }
PL_INLINE Lanes where_zero(Lanes test, Lanes then, Lanes otherwise) {
  return _mm512_mask_mov_pd(otherwise.v, _mm512_cmp_pd_mask(test.v, _mm512_setzero_pd(), _CMP_EQ_OQ), then.v);
}

PL_INLINE void transpose(Lanes (&r)[8]) {
  __m512d t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_pd(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_pd(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int k = 0; k < 2; ++k) {
      u[i + k] = _mm512_shuffle_f64x2(t[i + k], t[i + k + 2], 0x88);
      u[i + k + 2] = _mm512_shuffle_f64x2(t[i + k], t[i + k + 2], 0xdd);
    }
  }
  for (int k = 0; k < 4; ++k) {
    r[k] = _mm512_shuffle_f64x2(u[k], u[k + 4], 0x88);
    r[k + 4] = _mm512_shuffle_f64x2(u[k], u[k + 4], 0xdd);
  }
}

PL_INLINE void fence() { _mm_sfence(); }

#elif defined(__AVX2__)

struct Lanes {
  __m256d lo, hi;
  Lanes() = default;
  PL_INLINE Lanes(__m256d low, __m256d high) : lo(low), hi(high) {}
  PL_INLINE explicit Lanes(double value) : lo(_mm256_set1_pd(value)), hi(lo) {}
  PL_INLINE static Lanes load(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
  PL_INLINE void store(double* p) const { _mm256_storeu_pd(p, lo), _mm256_storeu_pd(p + 4, hi); }
  PL_INLINE void stream(double* p) const { _mm256_stream_pd(p, lo), _mm256_stream_pd(p + 4, hi); }
};

PL_INLINE Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi)}; }
PL_INLINE Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_pd(a.lo, b.lo), _mm256_sub_pd(a.hi, b.hi)}; }
PL_INLINE Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_pd(a.lo, b.lo), _mm256_mul_pd(a.hi, b.hi)}; }
PL_INLINE Lanes operator/(Lanes a, Lanes b) { return {_mm256_div_pd(a.lo, b.lo), _mm256_div_pd(a.hi, b.hi)}; }
PL_INLINE Lanes operator-(Lanes a) {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return {_mm256_xor_pd(a.lo, sign), _mm256_xor_pd(a.hi, sign)};
}
PL_INLINE Lanes madd(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fmadd_pd(a.lo, b.lo, c.lo), _mm256_fmadd_pd(a.hi, b.hi, c.hi)};
}
PL_INLINE Lanes nmadd(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fnmadd_pd(a.lo, b.lo, c.lo), _mm256_fnmadd_pd(a.hi, b.hi, c.hi)};
}
PL_INLINE Lanes root(Lanes a) { return {_mm256_sqrt_pd(a.lo), _mm256_sqrt_pd(a.hi)}; }
PL_INLINE __m256d with_sign(__m256d a, __m256d b) {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return _mm256_or_pd(_mm256_andnot_pd(sign, a), _mm256_and_pd(sign, b));
}
PL_INLINE Lanes with_sign(Lanes a, Lanes b) { return {with_sign(a.lo, b.lo), with_sign(a.hi, b.hi)}; }
PL_INLINE Lanes magnitude(Lanes a) {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return {_mm256_andnot_pd(sign, a.lo), _mm256_andnot_pd(sign, a.hi)};
}
PL_INLINE Lanes power_below(Lanes a) {
  const __m256d exponent = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff0000000000000));
  return {_mm256_and_pd(a.lo, exponent), _mm256_and_pd(a.hi, exponent)};
}
PL_INLINE Lanes larger(Lanes a, Lanes b) { return {_mm256_max_pd(a.lo, b.lo), _mm256_max_pd(a.hi, b.hi)}; }
PL_INLINE Lanes smaller(Lanes a, Lanes b) { return {_mm256_min_pd(a.lo, b.lo), _mm256_min_pd(a.hi, b.hi)}; }
PL_INLINE Lanes where_zero(Lanes test, Lanes then, Lanes otherwise) {
  const __m256d zero = _mm256_setzero_pd();
  return {_mm256_blendv_pd(otherwise.lo, then.lo, _mm256_cmp_pd(test.lo, zero, _CMP_EQ_OQ)),
          _mm256_blendv_pd(otherwise.hi, then.hi, _mm256_cmp_pd(test.hi, zero, _CMP_EQ_OQ))};
}

PL_INLINE void transpose4(__m256d& a, __m256d& b, __m256d& c, __m256d& d) {
  const __m256d ab0 = _mm256_unpacklo_pd(a, b), ab1 = _mm256_unpackhi_pd(a, b);
  const __m256d cd0 = _mm256_unpacklo_pd(c, d), cd1 = _mm256_unpackhi_pd(c, d);
  a = _mm256_permute2f128_pd(ab0, cd0, 0x20);
  b = _mm256_permute2f128_pd(ab1, cd1, 0x20);
  c = _mm256_permute2f128_pd(ab0, cd0, 0x31);
  d = _mm256_permute2f128_pd(ab1, cd1, 0x31);
}

PL_INLINE void transpose(Lanes (&r)[8]) {
  transpose4(r[0].lo, r[1].lo, r[2].lo, r[3].lo);
  transpose4(r[0].hi, r[1].hi, r[2].hi, r[3].hi);
  transpose4(r[4].lo, r[5].lo, r[6].lo, r[7].lo);
  transpose4(r[4].hi, r[5].hi, r[6].hi, r[7].hi);
  for (int k = 0; k < 4; ++k) {
    const __m256d upper_right = r[k].hi;
    r[k].hi = r[k + 4].lo;
    r[k + 4].lo = upper_right;
  }
}

PL_INLINE void fence() { _mm_sfence(); }

#else

struct Lanes {
  double v[8];
  Lanes() = default;
  PL_INLINE explicit Lanes(double value) {
    for (double& e : v) e = value;
  }
  PL_INLINE static Lanes load(const double* p) {
    Lanes a;
    for (int i = 0; i < 8; ++i) a.v[i] = p[i];
    return a;
  }
  PL_INLINE void store(double* p) const {
    for (int i = 0; i < 8; ++i) p[i] = v[i];
  }
  PL_INLINE void stream(double* p) const { store(p); }
};

#define PL_EACH(expression)                                 \
  Lanes r;                                                  \
  for (int i = 0; i < 8; ++i) r.v[i] = expression;          \
  return r
PL_INLINE Lanes operator+(Lanes a, Lanes b) { PL_EACH(a.v[i] + b.v[i]); }
PL_INLINE Lanes operator-(Lanes a, Lanes b) { PL_EACH(a.v[i] - b.v[i]); }
PL_INLINE Lanes operator*(Lanes a, Lanes b) { PL_EACH(a.v[i] * b.v[i]); }
PL_INLINE Lanes operator/(Lanes a, Lanes b) { PL_EACH(a.v[i] / b.v[i]); }
PL_INLINE Lanes operator-(Lanes a) { PL_EACH(-a.v[i]); }
PL_INLINE Lanes madd(Lanes a, Lanes b, Lanes c) { PL_EACH(__builtin_fma(a.v[i], b.v[i], c.v[i])); }
PL_INLINE Lanes nmadd(Lanes a, Lanes b, Lanes c) { PL_EACH(__builtin_fma(-a.v[i], b.v[i], c.v[i])); }
PL_INLINE Lanes root(Lanes a) { PL_EACH(__builtin_sqrt(a.v[i])); }
PL_INLINE Lanes with_sign(Lanes a, Lanes b) { PL_EACH(__builtin_copysign(a.v[i], b.v[i])); }
PL_INLINE Lanes magnitude(Lanes a) { PL_EACH(__builtin_fabs(a.v[i])); }
PL_INLINE Lanes power_below(Lanes a) { PL_EACH(::precisionlab::power_below(a.v[i])); }
PL_INLINE Lanes larger(Lanes a, Lanes b) { PL_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
PL_INLINE Lanes smaller(Lanes a, Lanes b) { PL_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
PL_INLINE Lanes where_zero(Lanes test, Lanes then, Lanes otherwise) {
  PL_EACH(test.v[i] == 0.0 ? then.v[i] : otherwise.v[i]);
}
#undef PL_EACH

PL_INLINE void transpose(Lanes (&r)[8]) {
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < i; ++j) {
      const double t = r[i].v[j];
      r[i].v[j] = r[j].v[i];
      r[j].v[i] = t;
    }
  }
}

PL_INLINE void fence() {}

#endif

}  // namespace precisionlab::PL_LEVEL
