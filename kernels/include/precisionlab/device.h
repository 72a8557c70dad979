// The CUDA kernels: the same tasks as on the CPU, their pointers on the device; and what a task asks of a GPU.
#pragma once

#include "dispatch.h"

namespace precisionlab::device {

constexpr int WARP = 32;
// Shared memory with the problems of a warp side by side: entry i of problem p lies at [i·PITCH + p]. The pitch is odd,
// so that neither a row of problems nor the entries of one meet in a bank.
constexpr int PITCH = WARP + 1;
constexpr int MOST_COLUMNS = 8;  // of a problem that one thread holds

// Residual form: lanes a problem, rows a lane, and columns: as many, or where a whole warp takes it, at most so many. All fit the
// registers, about 2 (rows (columns + 1) + 3 columns) of them within 255, and were found by ptxas to spill nothing.
struct Team {
  int lanes, rows, columns;
};
constexpr Team TEAMS[] = {{4, 2, 1}, {4, 5, 1}, {4, 8, 1}, {4, 16, 1}, {4, 2, 2}, {4, 5, 2},  {4, 8, 2},
                          {4, 16, 2}, {4, 2, 3}, {4, 5, 3}, {4, 8, 3}, {4, 16, 3}, {4, 2, 4}, {4, 5, 4},
                          {4, 8, 4}, {4, 2, 5}, {4, 5, 5}, {4, 8, 5}, {4, 2, 6}, {4, 5, 6},  {4, 8, 6},
                          {4, 2, 7}, {4, 5, 7}, {4, 2, 8}, {4, 5, 8}, {WARP, 8, 8}, {WARP, 2, 16}};
constexpr int TEAM_COUNT = sizeof(TEAMS) / sizeof(TEAMS[0]);

// The first team that a problem fits; TEAM_COUNT where there is none.
inline int team_of(int m, int n) {
  for (int i = 0; i < TEAM_COUNT; ++i) {
    const Team& team = TEAMS[i];
    const bool fits = team.lanes == WARP ? n <= team.columns : n == team.columns;
    if (fits && m <= team.lanes * team.rows) return i;
  }
  return TEAM_COUNT;
}

// What a block asks for at its launch.
inline std::int64_t shared_bytes(const IteratesTask&) { return 0; }
inline std::int64_t shared_bytes(const HouseholderTask& t) { return std::int64_t{8} * PITCH * t.m * (t.n + 1); }
inline std::int64_t shared_bytes(const ConvolutionTask& t) {
  return std::int64_t{8} * WARP * (2 * std::int64_t(t.tokens) + 2 * std::int64_t(t.taps) + 1);
}

inline bool has_kernel(const IteratesTask& t) {
  return t.watch.spread == nullptr && (t.gram ? t.n <= MOST_COLUMNS : team_of(t.m, t.n) < TEAM_COUNT);
}
inline bool has_kernel(const HouseholderTask& t) { return t.n <= MOST_COLUMNS; }
inline bool has_kernel(const ConvolutionTask&) { return true; }

// Whether the current device will launch the kernel of a task that it takes.
bool ready(const IteratesTask& task);
bool ready(const HouseholderTask& task);
bool ready(const ConvolutionTask& task);

// Launch on `stream` (a cudaStream_t) of the current device; the text of the error, or nullptr.
const char* run(const IteratesTask& task, void* stream);
const char* run(const HouseholderTask& task, void* stream);
const char* run(const ConvolutionTask& task, void* stream);

}  // namespace precisionlab::device
