// Choosing the instruction set at run time, and sharing the lane groups out over threads.
#include "precisionlab/dispatch.h"

#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

namespace precisionlab {

namespace baseline {
extern const Level level;
}
#if defined(PL_ALL_LEVELS)
namespace avx2 {
extern const Level level;
}
namespace avx512 {
extern const Level level;
}
#endif

const Level* level_at(int i) {
  static const std::vector<const Level*> levels = [] {
    std::vector<const Level*> found{&baseline::level};
#if defined(PL_ALL_LEVELS)
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (fma) found.push_back(&avx2::level);
    if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      found.push_back(&avx512::level);
    }
#endif
    return found;
  }();
  return i >= 0 && i < static_cast<int>(levels.size()) ? levels[i] : nullptr;
}

const Level* find_level(const char* name) {
  const Level* best = nullptr;
  for (int i = 0; const Level* level = level_at(i); ++i) {
    if (*name == '\0' || std::strcmp(name, level->name) == 0) best = level;
  }
  return best;
}

namespace {

constexpr double THREAD_WORTH = 4e5;  // multiply-adds that pay for starting a thread, about 0.1 ms

// Threads are started for the call and joined: no pool to outlive a fork, and nothing shared with torch's OpenMP, whose
// runtime would otherwise be loaded twice. Each thread takes one contiguous range of groups, so no result depends on
// their number.
template <class Task>
bool share_out(const Task& task, std::int64_t groups, double work, int threads, const Kernel<Task>& kernel) {
  if (groups < 1) return true;
  const auto worth = static_cast<std::int64_t>(1 + work / THREAD_WORTH);
  std::int64_t parts = threads < 1 ? 1 : threads;
  if (parts > worth) parts = worth;
  if (parts > groups) parts = groups;
  // Whole cache lines for each thread, and one line between neighbours.
  const std::size_t bytes = static_cast<std::size_t>((kernel.workspace(task) + 15) / 8) * 64;
  auto* memory = static_cast<char*>(std::aligned_alloc(64, bytes * static_cast<std::size_t>(parts)));
  if (memory == nullptr) return false;
  const auto part = [&](std::int64_t k) {
    kernel.run(task, groups * k / parts, groups * (k + 1) / parts, reinterpret_cast<double*>(memory + bytes * k));
  };
  std::vector<std::thread> started;
  std::int64_t next = 1;
  try {
    started.reserve(static_cast<std::size_t>(parts));
    for (; next < parts; ++next) started.emplace_back(part, next);
  } catch (const std::system_error&) {
    // No more threads to be had: the rest is done here.
  }
  part(0);
  for (; next < parts; ++next) part(next);
  for (std::thread& thread : started) thread.join();
  std::free(memory);
  return true;
}

std::int64_t groups_of(std::int64_t batch) { return (batch + LANES - 1) / LANES; }

}  // namespace

bool run(const Level& level, const IteratesTask& task, int threads) {
  const double a_step = task.gram ? double(task.n) * task.n : 2.0 * task.m * task.n;
  const double work = double(task.batch) / LANES * (task.steps * a_step + double(task.m) * task.n * 4);
  return share_out(task, groups_of(task.batch), work, threads, level.iterates);
}

bool run(const Level& level, const SchulzTask& task, int threads) {
  const double entries = double(task.m) * task.n;
  const double work = double(task.batch) / LANES * entries * (3.0 * task.n + 4);
  return share_out(task, groups_of(task.batch), work, threads, level.schulz);
}

bool run(const Level& level, const HouseholderTask& task, int threads) {
  const double work = double(task.batch) / LANES * task.m * (task.n + 1) * (task.n + 4);
  return share_out(task, groups_of(task.batch), work, threads, level.householder);
}

bool run(const Level& level, const CholeskyTask& task, int threads) {
  const double work = double(task.batch) / LANES * task.n * (task.m * (task.n + 5.0) + task.n * task.n) / 2;
  return share_out(task, groups_of(task.batch), work, threads, level.cholesky);
}

bool run(const Level& level, const ConvolutionTask& task, int threads) {
  const double sums = task.backward ? 3 : 1;
  const double work = sums / LANES * task.batch * task.tokens * task.width * (task.taps + 4.0);
  const std::int64_t chunks = convolution_chunks(task), size = (std::int64_t(task.taps) + 1) * task.width;
  if (!share_out(task, chunks, work, threads, level.convolution)) return false;
  if (!task.backward) return true;
  // A chunk after the other: the order of the sum is then the same on any number of threads.
  for (std::int64_t e = 0; e < size; ++e) task.sums[e] = 0.0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::int64_t e = 0; e < size; ++e) task.sums[e] = task.sums[e] + task.partials[chunk * size + e];
  }
  return true;
}

}  // namespace precisionlab
