// The Python module. Every function reads and writes arrays that the caller owns (DLPack: torch, NumPy), checks their
// shapes, lets go of the interpreter lock while it runs, and returns nothing.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <new>
#include <string>
#include <vector>

#include "memory.h"
#include "tasks.h"

namespace nb = nanobind;
using namespace nb::literals;
namespace pl = precisionlab;
using pl::operator""_o;

void bind_device(nb::module_& module);

namespace {

using Host = pl::Arrays<nb::device::cpu>;
using In1 = Host::In1;
using In2 = Host::In2;
using In3 = Host::In3;
using Out1 = Host::Out1;
using Out2 = Host::Out2;
using Out3 = Host::Out3;

template <class Task>
void run(const Task& task, int threads, const std::string& level) {
  const pl::Level* kernels = pl::find_level(level.c_str());
  pl::want(kernels != nullptr, "level: not one of levels()");
  nb::gil_scoped_release unlocked;
  if (!pl::run(*kernels, task, threads)) throw std::bad_alloc();
}

void descend(const In3& A, const In2& b, const In2& x0, const In1& step, const Out3& out, int steps, bool gram,
             int threads, const std::string& level) {
  run(pl::iterates_task(A, b, x0, step, out, steps, gram), threads, level);
}

void chebyshev(const In3& A, const In2& b, const In2& x0, const In1& theta, const In1& delta, const Out3& out,
               const Out3& norms, const Out2& direction, const Out1& rho, int steps, bool resumed, int threads,
               const std::string& level) {
  pl::IteratesTask task = pl::iterates_task(A, b, x0, theta, out, steps, false);
  const std::size_t batch = A.shape(0);
  pl::want(delta.shape(0) == batch, "delta: not one a problem");
  pl::want(norms.shape(0) == std::size_t(steps) && norms.shape(1) == 2 && norms.shape(2) == batch,
           "norms: wants (steps, 2, batch)");
  pl::want(pl::same_shape(direction, x0), "direction: shape does not fit x0");
  pl::want(rho.shape(0) == batch, "rho: not one a problem");
  task.watch = {delta.data(), norms.data(), direction.data(), rho.data(), resumed};
  run(task, threads, level);
}

void newton_schulz(const In3& A, const In3& X, const Out3& out, const Out1& defect, int threads,
                   const std::string& level) {
  run(pl::schulz_task(A, X, out, defect), threads, level);
}

void householder(const In3& A, const In2& b, const Out2& x, const Out3& R, const Out2& measures, int threads,
                 const std::string& level) {
  run(pl::householder_task(A, b, x, R, measures), threads, level);
}

void cholesky(const In3& A, const In2& b, const Out2& x, const Out3& R, const Out2& measures, int threads,
              const std::string& level) {
  run(pl::cholesky_task(A, b, x, R, measures), threads, level);
}

void convolution(const In3& u, const In3& gate, const In2& filter, const In1& bias, int first, const Out3& y,
                 int threads, const std::string& level) {
  run(pl::convolution_task(u, gate, filter, bias, first, y), threads, level);
}

void convolution_backward(const In3& u, const In3& gate, const In2& filter, const In1& bias, int first, const In3& dy,
                          const Out3& du, const Out3& dgate, const Out3& partials, const Out2& sums, int threads,
                          const std::string& level) {
  run(pl::convolution_task(u, gate, filter, bias, first, dy, du, dgate, partials, sums), threads, level);
}

// What a result holds of the memory that is used again.
struct Lent {
  void* start;
  std::size_t bytes;
};

nb::ndarray<double, nb::device::cpu> fresh(const std::vector<std::size_t>& shape) {
  std::size_t bytes = sizeof(double);
  for (const std::size_t extent : shape) bytes *= extent;
  void* const start = pl::memory::take(bytes);
  if (start == nullptr) throw std::bad_alloc();
  const nb::capsule owner(new Lent{start, bytes}, [](void* held) noexcept {
    const Lent* const lent = static_cast<Lent*>(held);
    pl::memory::give_back(lent->start, lent->bytes);
    delete lent;
  });
  return {start, shape.size(), shape.data(), owner};
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
  module.attr("CONVOLUTION_CHUNK") = pl::CONVOLUTION_CHUNK;
  module.def("levels", &levels, "Instruction sets that this processor can run, slowest first.");
  module.def(
      "fast", [] { return pl::find_level("")->fast_fma; }, "Whether the best level has fma in hardware.");
  module.def("fresh", &fresh, "shape"_a, "Memory for a large result, not cleared; used again once the result is gone.");
  module.def("release", &pl::memory::release, "Return the memory kept for coming results; how many bytes it was.");
  module.def("gradient_descent", &descend, "A"_a, "b"_a, "x0"_a, "step"_a, "out"_o, "steps"_a, "gram"_a, "threads"_a,
             "level"_a = "", "Write the iterates of gradient descent.");
  module.def("chebyshev", &chebyshev, "A"_a, "b"_a, "x0"_a, "theta"_a, "delta"_a, "out"_o, "norms"_o, "direction"_o,
             "rho"_o, "steps"_a, "resumed"_a, "threads"_a, "level"_a = "",
             "Write the iterates of Chebyshev's method, and the squares of the norms of residual and gradient of all but the "
             "last.");
  module.def("newton_schulz", &newton_schulz, "A"_a, "X"_a, "out"_o, "defect"_o, "threads"_a, "level"_a = "",
             "Write the next Newton-Schulz iterate, and ||I - X A||_F of it.");
  module.def("solve_by_householder", &householder, "A"_a, "b"_a, "x"_o, "R"_o, "measures"_o, "threads"_a, "level"_a = "",
             "Write the least-squares solution, the factor R, and what is to be known of them.");
  module.def("solve_by_cholesky", &cholesky, "A"_a, "b"_a, "x"_o, "R"_o, "measures"_o, "threads"_a, "level"_a = "",
             "Write the solution of the normal equations, the factor R, and what is to be known of them.");
  module.def("convolution", &convolution, "u"_a, "gate"_a, "filter"_a, "bias"_a, "first"_a, "y"_o, "threads"_a,
             "level"_a = "", "Write the gated convolution.");
  module.def("convolution_backward", &convolution_backward, "u"_a, "gate"_a, "filter"_a, "bias"_a, "first"_a, "dy"_a,
             "du"_o, "dgate"_o, "partials"_o, "sums"_o, "threads"_a, "level"_a = "", "Write its backward pass.");
  bind_device(module);
}
