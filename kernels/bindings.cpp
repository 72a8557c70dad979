// The Python module. Every function reads and writes arrays that the caller owns (DLPack: torch, NumPy), checks their
// shapes, lets go of the interpreter lock while it runs, and returns nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <new>
#include <stdexcept>
#include <string>

#include "precisionlab/dispatch.h"
#include "precisionlab/iterates.h"

namespace nb = nanobind;
using namespace nb::literals;
namespace pl = precisionlab;

namespace {

using In1 = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using In2 = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using In3 = nb::ndarray<const double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Out2 = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Out3 = nb::ndarray<double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Out4 = nb::ndarray<double, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

void want(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

const pl::Level& chosen(const std::string& level) {
  const pl::Level* found = pl::find_level(level.c_str());
  want(found != nullptr, "level: not one of levels()");
  return *found;
}

void iterates(const In3& A, const In2& b, const In2& x0, const In1& step, const In1& spread, const Out3& out, int steps,
              bool gram, bool chebyshev, int threads, const std::string& level) {
  const auto batch = A.shape(0), m = A.shape(1), n = A.shape(2);
  want(steps >= 0, "steps: negative");
  want(m >= 1 && m < (1u << 24) && n >= 1 && n <= pl::MAX_COLUMNS, "A: sizes outside what the kernel takes");
  want(b.shape(0) == batch && b.shape(1) == m, "b: shape does not fit A");
  want(x0.shape(0) == batch && x0.shape(1) == n, "x0: shape does not fit A");
  want(step.shape(0) == batch, "step: not one a problem");
  want(spread.shape(0) == (chebyshev ? batch : 0), "spread: with chebyshev one a problem, else empty");
  want(out.shape(0) == 1 || out.shape(0) == std::size_t(steps) + 1, "out: neither every iterate nor the last");
  want(out.shape(1) == batch && out.shape(2) == n, "out: shape does not fit A");
  const pl::IteratesTask task{A.data(), b.data(), x0.data(), step.data(), spread.data(), out.data(),
                              std::int64_t(batch), int(m), int(n), steps, gram, chebyshev, out.shape(0) > 1};
  const pl::Level& kernels = chosen(level);
  nb::gil_scoped_release unlocked;
  if (batch > 0 && !pl::run(kernels, task, threads)) throw std::bad_alloc();
}

void schulz(const In3& A, const In3& X0, const Out4& out, int steps, int threads, const std::string& level) {
  const auto batch = A.shape(0), m = A.shape(1), n = A.shape(2);
  want(steps >= 0, "steps: negative");
  want(m >= 1 && m < (1u << 24) && n >= 1 && n <= pl::MAX_COLUMNS, "A: sizes outside what the kernel takes");
  want(X0.shape(0) == batch && X0.shape(1) == n && X0.shape(2) == m, "X0: shape does not fit A");
  want(out.shape(0) == 1 || out.shape(0) == std::size_t(steps) + 1, "out: neither every iterate nor the last");
  want(out.shape(1) == batch && out.shape(2) == n && out.shape(3) == m, "out: shape does not fit A");
  const pl::SchulzTask task{A.data(), X0.data(), out.data(), std::int64_t(batch), int(m), int(n), steps, out.shape(0) > 1};
  const pl::Level& kernels = chosen(level);
  nb::gil_scoped_release unlocked;
  if (batch > 0 && !pl::run(kernels, task, threads)) throw std::bad_alloc();
}

void householder(const In3& A, const In2& b, const Out2& x, const Out3& R, const Out2& rows, int threads,
                 const std::string& level) {
  const auto batch = A.shape(0), m = A.shape(1), n = A.shape(2);
  want(m >= n && m < (1u << 24) && n >= 1 && n <= pl::MAX_COLUMNS, "A: sizes outside what the kernel takes");
  want(b.shape(0) == batch && b.shape(1) == m, "b: shape does not fit A");
  want(x.shape(0) == batch && x.shape(1) == n, "x: shape does not fit A");
  want(R.shape(0) == batch && R.shape(1) == n && R.shape(2) == n, "R: shape does not fit A");
  want(rows.shape(0) == batch && rows.shape(1) == 2, "rows: shape does not fit A");
  const pl::HouseholderTask task{A.data(), b.data(), x.data(), R.data(), rows.data(), std::int64_t(batch), int(m), int(n)};
  const pl::Level& kernels = chosen(level);
  nb::gil_scoped_release unlocked;
  if (batch > 0 && !pl::run(kernels, task, threads)) throw std::bad_alloc();
}

nb::list levels() {
  nb::list names;
  for (int i = 0; const pl::Level* level = pl::level_at(i); ++i) names.append(level->name);
  return names;
}

}  // namespace

NB_MODULE(precisionlab_kernels, module) {
  module.doc() = "Fused float64 kernels for batches of small least-squares problems.";
  module.attr("MAX_COLUMNS") = pl::MAX_COLUMNS;
  module.def("levels", &levels, "Instruction sets that this processor can run, slowest first.");
  module.def(
      "fast", [] { return pl::find_level("")->fast_fma; }, "Whether the best level has fma in hardware.");
  module.def("iterates", &iterates, "A"_a, "b"_a, "x0"_a, "step"_a, "spread"_a, "out"_a, "steps"_a, "gram"_a,
             "chebyshev"_a, "threads"_a, "level"_a = "",
             "Write the iterates of gradient descent, or of Chebyshev's method, into out: every one or the last.");
  module.def("schulz", &schulz, "A"_a, "X0"_a, "out"_a, "steps"_a, "threads"_a, "level"_a = "",
             "Write the Newton-Schulz iterates into out, every one or the last.");
  module.def("householder", &householder, "A"_a, "b"_a, "x"_a, "R"_a, "rows"_a, "threads"_a, "level"_a = "",
             "Write the least-squares solution, the factor R, and the extremes of the rows' maxima.");
}
