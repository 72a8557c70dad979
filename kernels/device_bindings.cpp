// The CUDA kernels in the Python module: the functions of bindings.cpp with `device_` before their names, arrays on a GPU,
// and in place of threads the stream that the caller is on. They return once the kernel is queued.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "precisionlab/device.h"
#include "tasks.h"

#if defined(PL_CUDA)
#include <cuda_runtime_api.h>
#endif

namespace nb = nanobind;
using namespace nb::literals;
namespace pl = precisionlab;

namespace {

#if defined(PL_CUDA)

std::string obstacle() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return count > 0 ? "" : "no GPU";
}

// Makes the arrays' device the current one, and puts back what was.
class Current {
 public:
  explicit Current(int device) {
    if (cudaGetDevice(&before_) != cudaSuccess || cudaSetDevice(device) != cudaSuccess) {
      throw std::runtime_error(cudaGetErrorString(cudaGetLastError()));
    }
  }
  ~Current() { cudaSetDevice(before_); }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  int before_ = 0;
};

template <class Task>
bool takes(const Task& task) {
  return pl::device::takes(task);
}

template <class Task>
void run(const Task& task, int device, std::uintptr_t stream) {
  pl::want(takes(task), "sizes outside what the CUDA kernels take");
  const Current current(device);
  if (const char* error = pl::device::run(task, reinterpret_cast<void*>(stream))) throw std::runtime_error(error);
}

#else

std::string obstacle() { return "precisionlab_kernels was built without CUDA"; }

template <class Task>
bool takes(const Task&) {
  return false;
}

template <class Task>
void run(const Task&, int, std::uintptr_t) {
  throw std::runtime_error(obstacle());
}

#endif

using Device = pl::Arrays<nb::device::cuda>;
using In1 = Device::In1;
using In2 = Device::In2;
using In3 = Device::In3;
using Out2 = Device::Out2;
using Out3 = Device::Out3;
using Out4 = Device::Out4;
using Strided4 = Device::Strided4;

void iterates(const In3& A, const In2& b, const In2& x0, const In1& step, const In1& spread, const Out3& out, int steps,
              bool gram, bool chebyshev, std::uintptr_t stream) {
  const auto task = pl::iterates_task(A, b, x0, step, spread, out, steps, gram, chebyshev);
  if (task.batch > 0) run(task, A.device_id(), stream);
}

void schulz(const In3& A, const In3& X0, const Out4& out, int steps, std::uintptr_t stream) {
  const auto task = pl::schulz_task(A, X0, out, steps);
  if (task.batch > 0) run(task, A.device_id(), stream);
}

void householder(const In3& A, const In2& b, const Out2& x, const Out3& R, const Out2& measures,
                 std::uintptr_t stream) {
  const auto task = pl::householder_task(A, b, x, R, measures);
  if (task.batch > 0) run(task, A.device_id(), stream);
}

void attention(const Strided4& q, const Strided4& k, const Strided4& v, const Strided4& output,
               const std::vector<Strided4>& gradients, bool causal, int start, int prefix, double scale,
               std::uintptr_t stream) {
  const auto task = pl::attention_task(q, k, v, output, gradients, causal, start, prefix, scale);
  if (task.batch * task.heads > 0) run(task, q.device_id(), stream);
}

void convolution(const In3& u, const In3& gate, const In2& filter, const In1& bias, int first, const Out3& y,
                 std::uintptr_t stream) {
  const auto task = pl::convolution_task(u, gate, filter, bias, first, y);
  if (task.batch > 0) run(task, u.device_id(), stream);
}

// Run for a batch of none too: the gradients of filter and bias are then zero, and written.
void convolution_backward(const In3& u, const In3& gate, const In2& filter, const In1& bias, int first, const In3& dy,
                          const Out3& du, const Out3& dgate, const Out3& partials, const Out2& sums,
                          std::uintptr_t stream) {
  const auto task = pl::convolution_task(u, gate, filter, bias, first, dy, du, dgate, partials, sums);
  run(task, u.device_id(), stream);
}

bool takes_iterates(int m, int n, bool gram) {
  pl::IteratesTask task{};
  task.m = m, task.n = n, task.gram = gram;
  return takes(task);
}

bool takes_schulz(int m, int n) {
  pl::SchulzTask task{};
  task.m = m, task.n = n;
  return takes(task);
}

bool takes_householder(int m, int n) {
  pl::HouseholderTask task{};
  task.m = m, task.n = n;
  return takes(task);
}

// With its backward pass, which takes more room.
bool takes_attention(int queries, int tokens, int width) {
  pl::AttentionTask task{};
  task.queries = queries, task.tokens = tokens, task.width = width, task.backward = true;
  return takes(task);
}

bool takes_convolution(int tokens, int taps) {
  pl::ConvolutionTask task{};
  task.tokens = tokens, task.taps = taps;
  return takes(task);
}

}  // namespace

void bind_device(nb::module_& module) {
  module.def("device_obstacle", &obstacle, "What keeps the CUDA kernels from running here; empty where nothing does.");
  module.def("device_takes_iterates", &takes_iterates, "m"_a, "n"_a, "gram"_a, "Whether a CUDA kernel has these sizes.");
  module.def("device_takes_schulz", &takes_schulz, "m"_a, "n"_a, "Whether a CUDA kernel has these sizes.");
  module.def("device_takes_householder", &takes_householder, "m"_a, "n"_a, "Whether a CUDA kernel has these sizes.");
  module.def("device_takes_attention", &takes_attention, "queries"_a, "tokens"_a, "width"_a,
             "Whether a CUDA kernel has these sizes.");
  module.def("device_takes_convolution", &takes_convolution, "tokens"_a, "taps"_a,
             "Whether a CUDA kernel has these sizes.");
  module.def("device_iterates", &iterates, "A"_a, "b"_a, "x0"_a, "step"_a, "spread"_a, "out"_a, "steps"_a, "gram"_a,
             "chebyshev"_a, "stream"_a, "iterates, on a GPU.");
  module.def("device_schulz", &schulz, "A"_a, "X0"_a, "out"_a, "steps"_a, "stream"_a, "schulz, on a GPU.");
  module.def("device_solve_by_householder", &householder, "A"_a, "b"_a, "x"_a, "R"_a, "measures"_a, "stream"_a,
             "solve_by_householder, on a GPU.");
  module.def("device_attention", &attention, "q"_a, "k"_a, "v"_a, "output"_a, "gradients"_a, "causal"_a, "start"_a,
             "prefix"_a, "scale"_a, "stream"_a, "attention, on a GPU.");
  module.def("device_convolution", &convolution, "u"_a, "gate"_a, "filter"_a, "bias"_a, "first"_a, "y"_a, "stream"_a,
             "convolution, on a GPU.");
  module.def("device_convolution_backward", &convolution_backward, "u"_a, "gate"_a, "filter"_a, "bias"_a, "first"_a,
             "dy"_a, "du"_a, "dgate"_a, "partials"_a, "sums"_a, "stream"_a, "convolution_backward, on a GPU.");
}
