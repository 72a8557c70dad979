// What the shared bodies need from their scalar type, for `double` on the host and on the device.
//
// A body is a template over a scalar type T. On the CPU T is `Lanes`, eight problems side by side (cpu/lanes.h); in CUDA
// it is `double`, one problem a thread. Every multiply-add is written out as `madd`, so both compile the same arithmetic.
#pragma once

#include <cmath>

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

}  // namespace precisionlab
