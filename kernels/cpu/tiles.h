// Moving a lane group between memory, where a problem's numbers are neighbours, and lanes, where problems are.
#pragma once

#include <cstdint>

#include "lanes.h"

namespace precisionlab::PL_LEVEL {

// Output larger than this is written past the cache: it would not stay there.
constexpr std::int64_t STREAMED_BYTES = 16 << 20;

// Columns 0..count−1 of up to eight rows that lie `stride` doubles apart, turned into count lane vectors. Where fewer
// than eight rows are left, the last one fills the empty lanes: they compute, and are not stored.
PL_INLINE void gather(const double* source, std::int64_t stride, int count, int rows, Lanes* out) {
  const double* row[8];
  for (int p = 0; p < 8; ++p) row[p] = source + stride * (p < rows ? p : rows - 1);
  if (count < 8) {
    for (int j = 0; j < count; ++j) {
      double lane[8];
      for (int p = 0; p < 8; ++p) lane[p] = row[p][j];
      out[j] = Lanes::load(lane);
    }
    return;
  }
  for (int done = 0; done < count; done += 8) {
    const int at = done + 8 <= count ? done : count - 8;  // the last block overlaps the one before
    Lanes block[8];
    for (int p = 0; p < 8; ++p) block[p] = Lanes::load(row[p] + at);
    transpose(block);
    for (int j = 0; j < 8; ++j) out[at + j] = block[j];
  }
}

// The first `count` of eight lanes, to `count` neighbours.
PL_INLINE void store_some(Lanes value, double* p, int count) {
  if (count >= 8) return value.store(p);
  double lane[8];
  value.store(lane);
  for (int i = 0; i < count; ++i) p[i] = lane[i];
}

// Ask for memory that the next lane group will read, while this one computes.
PL_INLINE void expect_reads(const double* source, std::int64_t doubles) {
  for (std::int64_t k = 0; k < doubles; k += 8) __builtin_prefetch(source + k, 0, 2);
}

// The inverse: `count` lane vectors into eight rows without gaps, 8·count doubles. `out` has room for eight more.
PL_INLINE void spread(const Lanes* lanes, int count, double* out) {
  Lanes block[8];
  if (count < 8) {
    for (int j = 0; j < 8; ++j) block[j] = j < count ? lanes[j] : Lanes(0.0);
    transpose(block);
    for (int p = 0; p < 8; ++p) block[p].store(out + p * count);  // each row overwrites the padding of the last
    return;
  }
  for (int done = 0; done < count; done += 8) {
    const int at = done + 8 <= count ? done : count - 8;
    for (int j = 0; j < 8; ++j) block[j] = lanes[at + j];
    transpose(block);
    for (int p = 0; p < 8; ++p) block[p].store(out + p * count + at);
  }
}

// `rows` rows of a spread group to their place; past the cache where the caller says so and whole lines are written.
PL_INLINE void flush(const double* group, int count, int rows, bool past_cache, double* out) {
  const int size = count * rows;
  if (rows == 8 && past_cache && reinterpret_cast<std::uintptr_t>(out) % 64 == 0) {
    for (int k = 0; k < size; k += 8) Lanes::load(group + k).stream(out + k);
    return;
  }
  int k = 0;
  for (; k + 8 <= size; k += 8) Lanes::load(group + k).store(out + k);
  for (; k < size; ++k) out[k] = group[k];
}

}  // namespace precisionlab::PL_LEVEL
