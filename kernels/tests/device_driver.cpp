// The CUDA kernels, run on the host by emulation.h, against the CPU's: the same bits, but for the residual form, whose sums
// go over a team of lanes and agree to rounding.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "arrays.h"
#include "precisionlab/cards.h"

namespace pl = precisionlab;

namespace {

constexpr pl::device::Card LARGEST{90, 227 * 1024};
int failures = 0, taken = 0;

void same(const char* what, const Array& ours, const Array& theirs) {
  if (std::memcmp(ours, theirs, static_cast<std::size_t>(ours.size) * sizeof(double)) == 0) return;
  std::printf("%s differs\n", what);
  ++failures;
}

void near(const char* what, const Array& ours, const Array& theirs, double within) {
  for (std::int64_t i = 0; i < ours.size; ++i) {
    if (std::fabs(ours[i] - theirs[i]) <= within * (1.0 + std::fabs(theirs[i]))) continue;
    std::printf("%s differs by %g\n", what, ours[i] - theirs[i]);
    ++failures;
    return;
  }
}

template <class Task>
bool both(const Task& cpu, const Task& gpu) {
  if (!pl::device::takes(gpu, LARGEST) || !pl::device::ready(gpu)) return false;
  ++taken;
  pl::run(*pl::find_level(""), cpu, 1);
  if (const char* error = pl::device::run(gpu, nullptr)) std::printf("%s\n", error), ++failures;
  return true;
}

void iterates(std::int64_t batch, int m, int n, int steps, Random& rng) {
  const Array A(batch * m * n, rng), b(batch * m, rng), x0(batch * n, rng), step(batch);
  for (std::int64_t i = 0; i < batch; ++i) step[i] = 0.25 / (m * n);
  for (const bool gram : {false, true}) {
    const Array ours((steps + 1) * batch * n), theirs(ours.size);
    const pl::IteratesTask task{A, b, x0, step, theirs, batch, m, n, steps, gram, {}};
    pl::IteratesTask device = task;
    device.out = ours;
    if (!both(task, device)) continue;
    if (gram) same("Gram form", ours, theirs);
    else near("residual form", ours, theirs, 4.0 * steps * (m + n) * 1.2e-16);
  }
}

void householder(std::int64_t batch, int m, int n, Random& rng) {
  const Array A(batch * m * n, rng), b(batch * m, rng);
  const Array x(batch * n), R(batch * n * n), found(batch * 6), x1(x.size), R1(R.size), found1(found.size);
  if (!both(pl::HouseholderTask{A, b, x, R, found, batch, m, n}, pl::HouseholderTask{A, b, x1, R1, found1, batch, m, n})) return;
  same("x of Householder", x1, x), same("R of Householder", R1, R), same("measures of Householder", found1, found);
}

void convolution(std::int64_t batch, int tokens, int width, int taps, int first, Random& rng) {
  const std::int64_t size = batch * tokens * width, rows = taps + 1;
  const std::int64_t chunks = (batch + pl::CONVOLUTION_CHUNK - 1) / pl::CONVOLUTION_CHUNK;
  const Array u(size, rng), gate(size, rng), filter(std::int64_t(taps) * width, rng), bias(width, rng), dy(size, rng);
  const Array theirs[4] = {Array(size), Array(size), Array(size), Array(rows * width)};
  const Array ours[4] = {Array(size), Array(size), Array(size), Array(rows * width)};
  const Array partials(chunks * rows * width);
  const auto task = [&](const Array(&out)[4], bool backward) {
    return pl::ConvolutionTask{u, gate, filter, bias, dy, out[0], out[1], out[2], partials, out[3], batch, tokens, width,
                               taps, first, backward};
  };
  for (const bool backward : {false, true}) both(task(theirs, backward), task(ours, backward));
  for (int i = 0; i < 4; ++i) same("convolution", ours[i], theirs[i]);
}

// One size of each kernel.
void few(Random& rng) {
  iterates(9, 20, 5, 2, rng);
  iterates(2, 64, 16, 2, rng);
  householder(33, 6, 3, rng);
  convolution(9, 5, 7, 9, -4, rng);
}

void many(Random& rng) {
  for (std::int64_t batch : {1, 33}) {
    for (int n = 1; n <= 8; ++n) {
      for (int m : {n, n + 3, 20}) householder(batch, m, n, rng);
      iterates(batch, n + 3, n, 3, rng);
    }
    iterates(batch, 20, 5, 4, rng);
  }
  iterates(3, 64, 16, 3, rng);
  iterates(5, 30, 11, 3, rng);
  iterates(2, 250, 7, 3, rng);
  for (int width : {1, 19, 40}) {
    for (int tokens : {1, 8, 13}) {
      convolution(9, tokens, width, tokens, 0, rng);
      convolution(2, tokens, width, tokens + 3, 0, rng);
      convolution(9, tokens, width, 2 * tokens - 1, 1 - tokens, rng);
    }
  }
}

}  // namespace

// With any argument, only a few sizes: for the thread sanitizer, under which a barrier of 256 threads takes its time.
int main(int count, char**) {
  Random rng(7);
  count > 1 ? few(rng) : many(rng);
  std::printf("%d calls: %s\n", taken, failures == 0 ? "all agree" : "FAILED");
  return failures == 0 && taken > 0 ? 0 : 1;
}
