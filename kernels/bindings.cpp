// The Python module. Every function reads and writes arrays that the caller owns (DLPack: torch, NumPy), checks their
// shapes, lets go of the interpreter lock while it runs, and returns nothing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <new>
#include <stdexcept>
#include <string>
#include <vector>

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

using Strided4 = nb::ndarray<const double, nb::ndim<4>, nb::device::cpu>;

pl::Sequences sequences(const Strided4& s, std::size_t batch, std::size_t heads, std::size_t tokens, std::size_t width) {
  want(s.shape(0) == batch && s.shape(1) == heads && s.shape(2) == tokens && s.shape(3) == width,
       "q, k, v: shapes do not fit");
  want(s.stride(3) == 1 || width == 1, "q, k, v: features are not neighbours");
  return {const_cast<double*>(s.data()), s.stride(0), s.stride(1), s.stride(2)};
}

// Forward: `output` is y and is written. Backward: it is the gradient of y, and `gradients` are those of q, k and v.
void attention(const Strided4& q, const Strided4& k, const Strided4& v, const Strided4& output,
               const std::vector<Strided4>& gradients, bool causal, int threads, const std::string& level) {
  const auto batch = q.shape(0), heads = q.shape(1), queries = q.shape(2), width = q.shape(3), tokens = k.shape(2);
  want(tokens >= 1 && tokens <= 4096 && width >= 1 && width <= 4096, "k: sizes outside what the kernel takes");
  want(queries >= 1 && queries <= (causal ? tokens : 4096), "q: more queries than tokens");
  want(gradients.empty() || gradients.size() == 3, "gradients: neither none nor those of q, k and v");
  pl::AttentionTask task{};
  task.q = sequences(q, batch, heads, queries, width);
  task.k = sequences(k, batch, heads, tokens, width);
  task.v = sequences(v, batch, heads, tokens, width);
  task.y = sequences(output, batch, heads, queries, width);
  task.batch = std::int64_t(batch), task.heads = int(heads), task.queries = int(queries), task.tokens = int(tokens);
  task.width = int(width), task.causal = causal, task.backward = !gradients.empty();
  if (task.backward) {
    task.dq = sequences(gradients[0], batch, heads, queries, width);
    task.dk = sequences(gradients[1], batch, heads, tokens, width);
    task.dv = sequences(gradients[2], batch, heads, tokens, width);
  }
  const pl::Level& kernels = chosen(level);
  nb::gil_scoped_release unlocked;
  if (batch > 0 && heads > 0 && !pl::run(kernels, task, threads)) throw std::bad_alloc();
}

void check_convolution(const In3& u, const In3& gate, const In2& filter, const In1& bias) {
  want(u.shape(1) >= 1 && u.shape(1) <= 4096 && u.shape(2) >= 1, "u: sizes outside what the kernel takes");
  want(gate.shape(0) == u.shape(0) && gate.shape(1) == u.shape(1) && gate.shape(2) == u.shape(2), "gate: shape does not fit u");
  want(filter.shape(0) >= 1 && filter.shape(0) <= 4096 && filter.shape(1) == u.shape(2), "filter: shape does not fit u");
  want(bias.shape(0) == u.shape(2), "bias: shape does not fit u");
}

void convolution(const In3& u, const In3& gate, const In2& filter, const In1& bias, const Out3& y, int threads,
                 const std::string& level) {
  check_convolution(u, gate, filter, bias);
  want(y.shape(0) == u.shape(0) && y.shape(1) == u.shape(1) && y.shape(2) == u.shape(2), "y: shape does not fit u");
  const pl::ConvolutionTask task{u.data(), gate.data(), filter.data(), bias.data(), nullptr, y.data(), nullptr, nullptr,
                                 nullptr, std::int64_t(u.shape(0)), int(u.shape(1)), int(u.shape(2)),
                                 int(filter.shape(0)), false};
  const pl::Level& kernels = chosen(level);
  nb::gil_scoped_release unlocked;
  if (task.batch > 0 && !pl::run(kernels, task, threads)) throw std::bad_alloc();
}

void convolution_backward(const In3& u, const In3& gate, const In2& filter, const In1& bias, const In3& dy,
                          const Out3& du, const Out3& dgate, const Out3& partials, int threads,
                          const std::string& level) {
  check_convolution(u, gate, filter, bias);
  const auto fits = [&](const auto& s) {
    return s.shape(0) == u.shape(0) && s.shape(1) == u.shape(1) && s.shape(2) == u.shape(2);
  };
  want(fits(dy) && fits(du) && fits(dgate), "dy, du, dgate: shapes do not fit u");
  const std::size_t chunks = (u.shape(0) + pl::CONVOLUTION_CHUNK - 1) / pl::CONVOLUTION_CHUNK;
  want(partials.shape(0) == chunks && partials.shape(1) == filter.shape(0) + 1 && partials.shape(2) == u.shape(2),
       "partials: wants one (taps + 1, width) a chunk");
  const pl::ConvolutionTask task{u.data(), gate.data(), filter.data(), bias.data(), dy.data(), nullptr, du.data(),
                                 dgate.data(), partials.data(), std::int64_t(u.shape(0)), int(u.shape(1)),
                                 int(u.shape(2)), int(filter.shape(0)), true};
  const pl::Level& kernels = chosen(level);
  nb::gil_scoped_release unlocked;
  if (task.batch > 0 && !pl::run(kernels, task, threads)) throw std::bad_alloc();
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
  module.attr("CONVOLUTION_CHUNK") = pl::CONVOLUTION_CHUNK;
  module.def("attention", &attention, "q"_a, "k"_a, "v"_a, "output"_a, "gradients"_a, "causal"_a, "threads"_a,
             "level"_a = "", "Write linear attention, or with gradients its backward pass.");
  module.def("convolution", &convolution, "u"_a, "gate"_a, "filter"_a, "bias"_a, "y"_a, "threads"_a, "level"_a = "",
             "Write the gated convolution.");
  module.def("convolution_backward", &convolution_backward, "u"_a, "gate"_a, "filter"_a, "bias"_a, "dy"_a, "du"_a,
             "dgate"_a, "partials"_a, "threads"_a, "level"_a = "", "Write its backward pass.");
}
