// A C++ driver for the sanitizers: every kernel, on every instruction set, over sizes around the lane group, with inputs
// and outputs allocated to the byte. It also checks the bodies against themselves: eight problems in lanes must give the
// bits of one problem in a double, which is what the GPU compiles.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "arrays.h"
#include "memory.h"
#include "precisionlab/cholesky.h"
#include "precisionlab/dispatch.h"
#include "precisionlab/householder.h"
#include "precisionlab/iterates.h"
#include "precisionlab/schulz.h"
#include "precisionlab/triangular.h"

namespace pl = precisionlab;

namespace {

int failures = 0;

void same(const char* what, const pl::Level& level, const double* ours, const double* theirs, std::int64_t count) {
  if (std::memcmp(ours, theirs, static_cast<std::size_t>(count) * sizeof(double)) == 0) return;
  std::printf("%s on %s differs\n", what, level.name);
  ++failures;
}

template <class Check>
void on_every_level(const Check& check) {
  for (int i = 0; const pl::Level* level = pl::level_at(i); ++i) {
    for (int threads : {1, 3}) check(*level, threads);
  }
}

void iterates(std::int64_t batch, int m, int n, int steps, Random& rng) {
  const Array A(batch * m * n, rng), b(batch * m, rng), x0(batch * n, rng), step(batch), spread(batch);
  for (const bool chebyshev : {false, true}) {
    for (std::int64_t i = 0; i < batch; ++i) {
      step[i] = chebyshev ? 4.0 * m * n : 0.25 / (m * n);
      spread[i] = 2.0 * m * n;
    }
    for (const bool gram : {false, true}) {
      if (gram && chebyshev) continue;
      const Array expected((steps + 1) * batch * n), norms(2 * steps * batch), last(batch * n), rhos(batch);
      for (std::int64_t p = 0; p < batch; ++p) {
        double x[pl::MAX_COLUMNS], g[pl::MAX_COLUMNS], d[pl::MAX_COLUMNS] = {}, squares[2];
        double G[pl::MAX_COLUMNS * pl::MAX_COLUMNS], c[pl::MAX_COLUMNS];
        const double *const matrix = A + p * m * n, *const right = b + p * m;
        pl::Chebyshev<double> recurrence{step[p], spread[p], 0.0};
        std::memcpy(x, x0 + p * n, sizeof(double) * static_cast<std::size_t>(n));
        if (gram) pl::gram<double, 0>(matrix, right, m, n, G, c);
        for (int k = 0; k < steps; ++k) {
          std::memcpy(expected + (k * batch + p) * n, x, sizeof(double) * static_cast<std::size_t>(n));
          if (gram) {
            pl::gram_gradient<double, 0>(G, c, n, x, g);
          } else if (chebyshev) {
            pl::watched_gradient<double, 0>(matrix, right, m, n, x, g, squares);
            norms[2 * k * batch + p] = squares[0], norms[(2 * k + 1) * batch + p] = squares[1];
          } else {
            pl::residual_gradient<double, 0>(matrix, right, m, n, x, g);
          }
          if (!chebyshev) {
            pl::descend<double, 0>(step[p], g, n, x);
          } else if (k == 0) {
            recurrence.first<0>(g, n, d, x);
          } else {
            recurrence.next<0>(g, n, d, x);
          }
        }
        std::memcpy(expected + (steps * batch + p) * n, x, sizeof(double) * static_cast<std::size_t>(n));
        std::memcpy(last + p * n, d, sizeof(double) * static_cast<std::size_t>(n));
        rhos[p] = recurrence.rho;
      }
      on_every_level([&](const pl::Level& level, int threads) {
        const Array out(expected.size), found(norms.size), direction(last.size), rho(batch);
        pl::IteratesTask task{A, b, x0, step, out, batch, m, n, steps, gram, {}};
        if (chebyshev) task.watch = {spread, found, direction, rho, false};
        pl::run(level, task, threads);
        same("iterates", level, out, expected, out.size);
        if (!chebyshev) return;
        same("norms", level, found, norms, found.size);
        same("direction", level, direction, last, last.size);
        same("rho", level, rho, rhos, batch);
      });
    }
  }
}

void schulz(std::int64_t batch, int m, int n, Random& rng) {
  const Array A(batch * m * n, rng), X(batch * m * n, rng), expected(X.size), defects(batch);
  const Array P(static_cast<std::int64_t>(n) * n);
  std::memcpy(expected, X, static_cast<std::size_t>(X.size) * sizeof(double));
  for (std::int64_t p = 0; p < batch; ++p) {
    const std::int64_t at = p * m * n;
    pl::schulz_step<double, 0, pl::MAX_COLUMNS>(A + at, m, n, expected + at, P);
    defects[p] = pl::schulz_defect<double, 0, pl::MAX_COLUMNS>(A + at, m, n, expected + at, P);
  }
  on_every_level([&](const pl::Level& level, int threads) {
    const Array out(X.size), defect(batch);
    pl::run(level, pl::SchulzTask{A, X, out, defect, batch, m, n}, threads);
    same("Newton-Schulz", level, out, expected, out.size);
    same("defect of Newton-Schulz", level, defect, defects, batch);
  });
}

void householder(std::int64_t batch, int m, int n, Random& rng) {
  const Array A(batch * m * n, rng), b(batch * m, rng), x(batch * n), copy(m * n), right(m), measures(4 * batch);
  for (std::int64_t p = 0; p < batch; ++p) {
    std::memcpy(copy, A + p * m * n, static_cast<std::size_t>(copy.size) * sizeof(double));
    std::memcpy(right, b + p * m, static_cast<std::size_t>(m) * sizeof(double));
    pl::householder_least_squares<double, 0, pl::MAX_COLUMNS + 1>(copy.data.get(), right.data.get(), m, n, x + p * n);
    const auto factor = pl::judge<double, 0, pl::MAX_COLUMNS>(copy.data.get(), n);
    double* const at = measures + p;
    at[0] = factor.size, at[batch] = factor.smallest, at[2 * batch] = factor.condition;
    at[3 * batch] = pl::length<double>(right.data.get(), n, m);
  }
  on_every_level([&](const pl::Level& level, int threads) {
    const Array out(batch * n), R(batch * n * n), found(6 * batch);
    pl::run(level, pl::HouseholderTask{A, b, out, R, found, batch, m, n}, threads);
    same("Householder", level, out, x, out.size);
    same("measures of Householder", level, found + 2 * batch, measures, measures.size);
  });
}

void cholesky(std::int64_t batch, int m, int n, Random& rng) {
  const Array A(batch * m * n, rng), b(batch * m, rng), x(batch * n), G(n * n), right(m), measures(4 * batch);
  for (std::int64_t p = 0; p < batch; ++p) {
    std::memcpy(right, b + p * m, static_cast<std::size_t>(m) * sizeof(double));
    double* const at = measures + p;
    pl::cholesky_least_squares<double, 0>(A + p * m * n, right.data.get(), m, n, G.data.get(), x + p * n);
    const auto factor = pl::judge<double, 0, pl::MAX_COLUMNS>(G.data.get(), n);
    at[0] = factor.size, at[batch] = factor.smallest, at[2 * batch] = factor.condition;
    at[3 * batch] = pl::length<double>(right.data.get(), 0, m);
  }
  on_every_level([&](const pl::Level& level, int threads) {
    const Array out(batch * n), R(batch * n * n), found(4 * batch);
    pl::run(level, pl::CholeskyTask{A, b, out, R, found, batch, m, n}, threads);
    same("Cholesky", level, out, x, out.size);
    same("measures of Cholesky", level, found, measures, measures.size);
  });
}

// No scalar body here: the baseline is what the other levels must equal.
void convolution(std::int64_t batch, int tokens, int width, int taps, int first, Random& rng) {
  const std::int64_t size = batch * tokens * width, chunks = (batch + pl::CONVOLUTION_CHUNK - 1) / pl::CONVOLUTION_CHUNK;
  const Array u(size, rng), gate(size, rng), filter(std::int64_t(taps) * width, rng), bias(width, rng), dy(size, rng);
  std::unique_ptr<Array> expected[4];
  on_every_level([&](const pl::Level& level, int threads) {
    Array out[4] = {Array(size), Array(size), Array(size), Array((taps + 1) * width)};
    const Array partials(chunks * (taps + 1) * width);
    pl::ConvolutionTask task{u,        gate,   filter, bias,   dy,    out[0], out[1], out[2],
                             partials, out[3], batch,  tokens, width, taps,   first,  false};
    pl::run(level, task, threads);
    task.backward = true;
    pl::run(level, task, threads);
    for (int i = 0; i < 4; ++i) {
      if (!expected[i]) expected[i] = std::make_unique<Array>(std::move(out[i]));
      else same("convolution", level, out[i], *expected[i], out[i].size);
    }
  });
}

// A block comes back once and only once, is writable to its end, and none is lost.
void memory() {
  constexpr std::size_t BYTES = std::size_t(5) << 20;
  char* const first = static_cast<char*>(pl::memory::take(BYTES));
  char* const second = static_cast<char*>(pl::memory::take(BYTES));
  first[BYTES - 1] = second[BYTES - 1] = 1;
  pl::memory::give_back(first, BYTES);
  void* const larger = pl::memory::take(2 * BYTES);
  if (larger == first || first == second || pl::memory::take(BYTES) != first) {
    std::printf("memory: the wrong block\n");
    ++failures;
  }
  pl::memory::give_back(larger, 2 * BYTES);
  pl::memory::give_back(second, BYTES);
  pl::memory::give_back(first, BYTES);
  if (pl::memory::release() < 2 * BYTES || pl::memory::release() != 0) {
    std::printf("memory: blocks were lost\n");
    ++failures;
  }
}

}  // namespace

int main() {
  Random rng(7);
  memory();
  for (std::int64_t batch : {1, 7, 8, 9, 17}) {
    for (int n : {1, 2, 5, 8, 9, 16, 17, 32}) {
      iterates(batch, n + 3, n, 4, rng);
      schulz(batch, n + 3, n, rng);
      householder(batch, n, n, rng);
      householder(batch, n + 3, n, rng);
      cholesky(batch, n + 3, n, rng);
    }
  }
  iterates(40000, 3, 2, 30, rng);  // several threads, and output that is written past the cache
  for (int width : {1, 7, 8, 19, 40}) {
    for (int tokens : {1, 8, 13}) {
      convolution(33, tokens, width, tokens, 0, rng);
      convolution(2, tokens, width, tokens + 3, 0, rng);
      convolution(9, tokens, width, 2 * tokens - 1, 1 - tokens, rng);
    }
  }
  convolution(3000, 9, 16, 9, 0, rng);
  std::puts(failures == 0 ? "all agree" : "FAILED");
  return failures == 0 ? 0 : 1;
}
