// The CUDA kernels in the Python module: the functions of bindings.cpp with `device_` before their names, arrays on a GPU,
// and in place of threads the stream that the caller is on. They return once the kernel is queued.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "precisionlab/cards.h"
#include "tasks.h"

#if defined(PL_CUDA)
#include <cuda_runtime_api.h>
#endif

namespace nb = nanobind;
using namespace nb::literals;
namespace pl = precisionlab;
using pl::operator""_o;

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

pl::device::Card card_of(int device) {
  int major = 0, minor = 0, shared = 0;
  const bool said = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
                    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess &&
                    cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) == cudaSuccess;
  if (!said) throw std::runtime_error(cudaGetErrorString(cudaGetLastError()));
  return {10 * major + minor, shared};
}

template <class Task>
bool takes(const Task& task, int device) {
  if (!pl::device::takes(task, card_of(device))) return false;
  const Current current(device);
  return pl::device::ready(task);
}

template <class Task>
void run(const Task& task, int device, std::uintptr_t stream) {
  pl::want(pl::device::takes(task, card_of(device)), "the CUDA kernels do not take these sizes on this device");
  const Current current(device);
  if (const char* error = pl::device::run(task, reinterpret_cast<void*>(stream))) throw std::runtime_error(error);
}

#else

std::string obstacle() { return "precisionlab_kernels was built without CUDA"; }

template <class Task>
bool takes(const Task&, int) {
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

void descend(const In3& A, const In2& b, const In2& x0, const In1& step, const Out3& out, int steps, bool gram,
             std::uintptr_t stream) {
  const auto task = pl::iterates_task(A, b, x0, step, out, steps, gram);
  if (task.batch > 0) run(task, A.device_id(), stream);
}

void householder(const In3& A, const In2& b, const Out2& x, const Out3& R, const Out2& measures,
                 std::uintptr_t stream) {
  const auto task = pl::householder_task(A, b, x, R, measures);
  if (task.batch > 0) run(task, A.device_id(), stream);
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

// `ask` of a task that has a kernel's sizes and nothing else.
template <class Ask>
bool of_sizes(const std::string& kernel, const std::vector<int>& sizes, const Ask& ask) {
  const auto size = [&](std::size_t i) { return sizes.at(i); };
  if (kernel == "gradient_descent") {
    pl::IteratesTask task{};
    task.m = size(0), task.n = size(1), task.gram = size(2) != 0;
    return ask(task);
  }
  if (kernel == "solve_by_householder") {
    pl::HouseholderTask task{};
    task.m = size(0), task.n = size(1);
    return ask(task);
  }
  pl::want(kernel == "convolution", "kernel: there is none of that name");
  pl::ConvolutionTask task{};
  task.tokens = size(0), task.taps = size(1);
  return ask(task);
}

bool takes_on(const std::string& kernel, const std::vector<int>& sizes, int device) {
  return of_sizes(kernel, sizes, [&](const auto& task) { return takes(task, device); });
}

bool would_take(const std::string& kernel, const std::vector<int>& sizes, int capability, std::int64_t shared_bytes) {
  return of_sizes(kernel, sizes,
                  [&](const auto& task) { return pl::device::takes(task, {capability, shared_bytes}); });
}

}  // namespace

void bind_device(nb::module_& module) {
  module.def("device_obstacle", &obstacle, "What keeps the CUDA kernels from running here; empty where nothing does.");
  module.def("device_takes", &takes_on, "kernel"_a, "sizes"_a, "device"_a,
             "Whether a CUDA kernel takes these sizes on a GPU of this machine.");
  module.def("device_would_take", &would_take, "kernel"_a, "sizes"_a, "capability"_a, "shared_bytes"_a,
             "Whether a CUDA kernel takes these sizes on a GPU of this capability and shared memory a block.");
  module.def("device_gradient_descent", &descend, "A"_a, "b"_a, "x0"_a, "step"_a, "out"_o, "steps"_a, "gram"_a,
             "stream"_a, "gradient_descent, on a GPU.");
  module.def("device_solve_by_householder", &householder, "A"_a, "b"_a, "x"_o, "R"_o, "measures"_o, "stream"_a,
             "solve_by_householder, on a GPU.");
  module.def("device_convolution", &convolution, "u"_a, "gate"_a, "filter"_a, "bias"_a, "first"_a, "y"_o, "stream"_a,
             "convolution, on a GPU.");
  module.def("device_convolution_backward", &convolution_backward, "u"_a, "gate"_a, "filter"_a, "bias"_a, "first"_a,
             "dy"_a, "du"_o, "dgate"_o, "partials"_o, "sums"_o, "stream"_a, "convolution_backward, on a GPU.");
}
