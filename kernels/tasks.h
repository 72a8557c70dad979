// From arrays to tasks: what the functions of the module check before a kernel may read and write. One set of checks for
// the CPU's arrays and for the GPU's.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "precisionlab/dispatch.h"
#include "precisionlab/iterates.h"

namespace precisionlab {

namespace nb = nanobind;

template <class Device>
struct Arrays {
  using In1 = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, Device>;
  using In2 = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, Device>;
  using In3 = nb::ndarray<const double, nb::ndim<3>, nb::c_contig, Device>;
  using Out1 = nb::ndarray<double, nb::ndim<1>, nb::c_contig, Device>;
  using Out2 = nb::ndarray<double, nb::ndim<2>, nb::c_contig, Device>;
  using Out3 = nb::ndarray<double, nb::ndim<3>, nb::c_contig, Device>;
};

// An array that is written to: taken as it is or not at all, for a converted copy would be written to and lost.
inline auto operator""_o(const char* name, std::size_t) { return nb::arg(name).noconvert(); }

inline void want(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

template <class A, class B>
bool same_shape(const A& a, const B& b) {
  if (a.ndim() != b.ndim()) return false;
  for (std::size_t i = 0; i < a.ndim(); ++i) {
    if (a.shape(i) != b.shape(i)) return false;
  }
  return true;
}

template <class In3, class In2, class In1, class Out3>
IteratesTask iterates_task(const In3& A, const In2& b, const In2& x0, const In1& step, const Out3& out, int steps,
                           bool gram) {
  const auto batch = A.shape(0), m = A.shape(1), n = A.shape(2);
  want(steps >= 0, "steps: negative");
  want(m >= 1 && m < (1u << 24) && n >= 1 && n <= MAX_COLUMNS, "A: sizes outside what the kernel takes");
  want(b.shape(0) == batch && b.shape(1) == m, "b: shape does not fit A");
  want(x0.shape(0) == batch && x0.shape(1) == n, "x0: shape does not fit A");
  want(step.shape(0) == batch, "step: not one a problem");
  want(out.shape(0) == std::size_t(steps) + 1, "out: not one an iterate");
  want(out.shape(1) == batch && out.shape(2) == n, "out: shape does not fit A");
  return {A.data(), b.data(), x0.data(), step.data(), out.data(), std::int64_t(batch), int(m), int(n), steps, gram, {}};
}

template <class In3, class Out3, class Out1>
SchulzTask schulz_task(const In3& A, const In3& X, const Out3& out, const Out1& defect) {
  const auto batch = A.shape(0), m = A.shape(1), n = A.shape(2);
  want(m >= 1 && m < (1u << 24) && n >= 1 && n <= MAX_COLUMNS, "A: sizes outside what the kernel takes");
  want(X.shape(0) == batch && X.shape(1) == n && X.shape(2) == m, "X: shape does not fit A");
  want(same_shape(out, X), "out: shape does not fit A");
  want(defect.shape(0) == batch, "defect: not one a problem");
  return {A.data(), X.data(), out.data(), defect.data(), std::int64_t(batch), int(m), int(n)};
}

template <class In3, class In2, class Out2, class Out3>
HouseholderTask householder_task(const In3& A, const In2& b, const Out2& x, const Out3& R, const Out2& measures) {
  const auto batch = A.shape(0), m = A.shape(1), n = A.shape(2);
  want(m >= n && m < (1u << 24) && n >= 1 && n <= MAX_COLUMNS, "A: sizes outside what the kernel takes");
  want(b.shape(0) == batch && b.shape(1) == m, "b: shape does not fit A");
  want(x.shape(0) == batch && x.shape(1) == n, "x: shape does not fit A");
  want(R.shape(0) == batch && R.shape(1) == n && R.shape(2) == n, "R: shape does not fit A");
  want(measures.shape(0) == 6 && measures.shape(1) == batch, "measures: wants (6, batch)");
  return {A.data(), b.data(), x.data(), R.data(), measures.data(), std::int64_t(batch), int(m), int(n)};
}

template <class In3, class In2, class Out2, class Out3>
CholeskyTask cholesky_task(const In3& A, const In2& b, const Out2& x, const Out3& R, const Out2& measures) {
  const auto batch = A.shape(0), m = A.shape(1), n = A.shape(2);
  want(m >= n && m < (1u << 24) && n >= 1 && n <= MAX_COLUMNS, "A: sizes outside what the kernel takes");
  want(b.shape(0) == batch && b.shape(1) == m, "b: shape does not fit A");
  want(x.shape(0) == batch && x.shape(1) == n, "x: shape does not fit A");
  want(R.shape(0) == batch && R.shape(1) == n && R.shape(2) == n, "R: shape does not fit A");
  want(measures.shape(0) == 4 && measures.shape(1) == batch, "measures: wants (4, batch)");
  return {A.data(), b.data(), x.data(), R.data(), measures.data(), std::int64_t(batch), int(m), int(n)};
}

template <class In3, class In2, class In1>
ConvolutionTask convolution_task(const In3& u, const In3& gate, const In2& filter, const In1& bias, int first) {
  want(u.shape(1) >= 1 && u.shape(1) <= 4096 && u.shape(2) >= 1, "u: sizes outside what the kernel takes");
  want(same_shape(gate, u), "gate: shape does not fit u");
  want(filter.shape(0) >= 1 && filter.shape(0) <= 8192 && filter.shape(1) == u.shape(2), "filter: shape does not fit u");
  want(bias.shape(0) == u.shape(2), "bias: shape does not fit u");
  want(first <= 0 && first > -4096, "first: outside the tokens");
  ConvolutionTask task{};
  task.u = u.data(), task.gate = gate.data(), task.filter = filter.data(), task.bias = bias.data();
  task.batch = std::int64_t(u.shape(0)), task.tokens = int(u.shape(1)), task.width = int(u.shape(2));
  task.taps = int(filter.shape(0)), task.first = first;
  return task;
}

template <class In3, class In2, class In1, class Out3>
ConvolutionTask convolution_task(const In3& u, const In3& gate, const In2& filter, const In1& bias, int first,
                                 const Out3& y) {
  ConvolutionTask task = convolution_task(u, gate, filter, bias, first);
  want(same_shape(y, u), "y: shape does not fit u");
  task.y = y.data();
  return task;
}

template <class In3, class In2, class In1, class Out3, class Out2>
ConvolutionTask convolution_task(const In3& u, const In3& gate, const In2& filter, const In1& bias, int first,
                                 const In3& dy, const Out3& du, const Out3& dgate, const Out3& partials,
                                 const Out2& sums) {
  ConvolutionTask task = convolution_task(u, gate, filter, bias, first);
  want(same_shape(dy, u) && same_shape(du, u) && same_shape(dgate, u), "dy, du, dgate: shapes do not fit u");
  const std::size_t rows = filter.shape(0) + 1;
  want(sums.shape(0) == rows && sums.shape(1) == u.shape(2), "sums: wants (taps + 1, width)");
  want(partials.shape(0) == std::size_t(convolution_chunks(task)) && partials.shape(1) == rows &&
           partials.shape(2) == u.shape(2),
       "partials: wants one (taps + 1, width) a chunk");
  task.dy = dy.data(), task.du = du.data(), task.dgate = dgate.data();
  task.partials = partials.data(), task.sums = sums.data(), task.backward = true;
  return task;
}

}  // namespace precisionlab
