// What the shared bodies need from their scalar type, for `double` on the host and on the device.
//
// A body is a template over a scalar type T. On the CPU T is `Lanes`, eight problems side by side (cpu/lanes.h); in CUDA
// it is `double`, one problem a thread. Every multiply-add is written out as `madd`, so both compile the same arithmetic.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define PL_HD __host__ __device__ __forceinline__
#else
#define PL_HD inline __attribute__((always_inline))
#endif

namespace precisionlab {

// a·b + c, rounded once.
PL_HD double madd(double a, double b, double c) { return ::fma(a, b, c); }
// c − a·b, rounded once.
PL_HD double nmadd(double a, double b, double c) { return ::fma(-a, b, c); }
PL_HD double root(double a) { return ::sqrt(a); }
// |a| with the sign of b.
PL_HD double with_sign(double a, double b) { return ::copysign(a, b); }

PL_HD double magnitude(double a) { return ::fabs(a); }
PL_HD double larger(double a, double b) { return a > b ? a : b; }
PL_HD double smaller(double a, double b) { return a < b ? a : b; }
// The power of two at or below |a|: 0 for a subnormal number, inf for what is not finite.
PL_HD double power_below(double a) {
  std::uint64_t bits;
  std::memcpy(&bits, &a, sizeof bits);
  bits &= 0x7ff0000000000000u;
  std::memcpy(&a, &bits, sizeof bits);
  return a;
}
PL_HD double where_zero(double test, double then, double otherwise) { return test == 0.0 ? then : otherwise; }

// body(0), …, body(count − 1), written out where the compiler knows the count: COUNT > 0. Else count is `runtime`.
template <int COUNT, class Body>
PL_HD void each(int runtime, const Body& body) {
  if constexpr (COUNT > 0) {
#if defined(__clang__) || defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 16
#endif
    for (int j = 0; j < COUNT; ++j) body(j);
  } else {
    for (int j = 0; j < runtime; ++j) body(j);
  }
}

// body(from), …, body(to − 1); where D > 0 says that the compiler knows it to be a bound, written out.
template <int D, class Body>
PL_HD void each_between(int from, int to, const Body& body) {
  if constexpr (D > 0) {
    each<D>(D, [&](int k) {
      if (k >= from && k < to) body(k);
    });
  } else {
    for (int k = from; k < to; ++k) body(k);
  }
}

}  // namespace precisionlab
