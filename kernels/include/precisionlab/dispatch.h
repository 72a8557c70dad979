// The kernels of each instruction set, as tables of functions over ranges of lane groups.
#pragma once

#include <cstdint>

namespace precisionlab {

constexpr int LANES = 8;  // problems in a lane group, on every instruction set

// Iterates of gradient descent on `batch` problems: A (batch, m, n), b (batch, m), x0 (batch, n), all contiguous.
// alpha (batch) holds one step size a problem. With `memory`, alpha and beta are (steps), shared by the problems.
// out is (steps + 1, batch, n) with `every`, else (1, batch, n).
struct IteratesTask {
  const double* A;
  const double* b;
  const double* x0;
  const double* alpha;
  const double* beta;
  double* out;
  std::int64_t batch;
  int m, n, steps;
  bool gram, memory, every;
};

// Least squares by Householder QR on `batch` problems: A (batch, m, n), b (batch, m), m >= n.
// x is (batch, n); R (batch, n, n), upper triangular; rows (batch, 2), the largest and the smallest of the maxima of |A|
// along its rows.
struct HouseholderTask {
  const double* A;
  const double* b;
  double* x;
  double* R;
  double* rows;
  std::int64_t batch;
  int m, n;
};

// A kernel works on a range of lane groups with a workspace of its own, of as many doubles as it says it needs.
template <class Task>
struct Kernel {
  void (*run)(const Task&, std::int64_t first_group, std::int64_t last_group, double* workspace);
  std::int64_t (*workspace)(const Task&);
};

struct Level {
  const char* name;
  bool fast_fma;  // false: fma is a library call, exact but slower than eager code
  Kernel<IteratesTask> iterates;
  Kernel<HouseholderTask> householder;
};

// The level called `name`, or the fastest that the processor has where `name` is empty; nullptr where there is none.
const Level* find_level(const char* name);
// The i-th level that the processor has, slowest first; nullptr past the last.
const Level* level_at(int i);

// Each returns false where memory ran out. `threads` is an upper bound; results do not depend on it.
bool run(const Level& level, const IteratesTask& task, int threads);
bool run(const Level& level, const HouseholderTask& task, int threads);

}  // namespace precisionlab
