// Linear attention and gated convolution, forward and backward. Compiled once per instruction set.
//
// Here a lane group is eight neighbouring features of one sequence, not eight problems: that is how activations lie.
// A width that is no multiple of eight is padded with zeros in the tiles, never in memory.
#include "precisionlab/dispatch.h"
#include "precisionlab/portable.h"
#include "tiles.h"

namespace precisionlab::PL_LEVEL {

namespace {

int padded(int count) { return (count + 7) / 8 * 8; }

PL_INLINE Lanes load_some(const double* p, int count) {
  if (count >= 8) return Lanes::load(p);
  double lane[8] = {};
  for (int i = 0; i < count; ++i) lane[i] = p[i];
  return Lanes::load(lane);
}

// Rows of `width` doubles, `stride` apart, to a tile whose rows are padded(width) long.
PL_INLINE void load_rows(const double* source, std::int64_t stride, int rows, int width, double* tile) {
  const int wide = padded(width);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < wide; c += 8) load_some(source + r * stride + c, width - c).store(tile + r * wide + c);
  }
}

// A tile to its place; past the cache where the caller says so and whole lines are written.
PL_INLINE void store_rows(const double* tile, int rows, int width, double* out, std::int64_t stride, bool past_cache) {
  const int wide = padded(width);
  const bool lines = width == wide && stride % 8 == 0 && reinterpret_cast<std::uintptr_t>(out) % 64 == 0;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < wide; c += 8) {
      const Lanes part = Lanes::load(tile + r * wide + c);
      if (past_cache && lines) {
        part.stream(out + r * stride + c);
      } else {
        store_some(part, out + r * stride + c, width - c);
      }
    }
  }
}

// The transpose of a tile, padded(width) rows of padded(rows); what is beyond the tile's rows becomes zero.
PL_INLINE void transpose_tile(const double* tile, int rows, int width, double* out) {
  const int wide = padded(width), tall = padded(rows);
  for (int r = 0; r < tall; r += 8) {
    for (int c = 0; c < wide; c += 8) {
      Lanes block[8];
      for (int i = 0; i < 8; ++i) block[i] = r + i < rows ? Lanes::load(tile + (r + i) * wide + c) : Lanes(0.0);
      transpose(block);
      for (int i = 0; i < 8; ++i) block[i].store(out + (c + i) * tall + r);
    }
  }
}

template <int ROWS, int COLUMNS>
PL_INLINE void product_block(const double* a, std::int64_t a_row, std::int64_t a_inner, const double* b, int b_row,
                             int inner, double factor, double* out, int out_row) {
  Lanes sum[ROWS][COLUMNS];
  for (int r = 0; r < ROWS; ++r) {
    for (int c = 0; c < COLUMNS; ++c) sum[r][c] = Lanes(0.0);
  }
  for (int k = 0; k < inner; ++k) {
    Lanes right[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; ++c) right[c] = Lanes::load(b + k * b_row + 8 * c);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const Lanes left(a[r * a_row + k * a_inner]);
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; ++c) sum[r][c] = madd(left, right[c], sum[r][c]);
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    for (int c = 0; c < COLUMNS; ++c) (sum[r][c] * Lanes(factor)).store(out + r * out_row + 8 * c);
  }
}

// The last rows, fewer than TALL, in one block as well: a row alone would wait for each of its sums.
template <int TALL, int COLUMNS>
PL_INLINE void product_rest(const double* a, std::int64_t a_row, std::int64_t a_inner, const double* b, int b_row,
                            int rows, int inner, double factor, double* out, int out_row) {
  if constexpr (TALL > 1) {
    if (rows == TALL - 1) {
      product_block<TALL - 1, COLUMNS>(a, a_row, a_inner, b, b_row, inner, factor, out, out_row);
    } else {
      product_rest<TALL - 1, COLUMNS>(a, a_row, a_inner, b, b_row, rows, inner, factor, out, out_row);
    }
  }
}

template <int COLUMNS>
PL_INLINE void product_columns(const double* a, std::int64_t a_row, std::int64_t a_inner, const double* b, int b_row,
                               int rows, int inner, double factor, double* out, int out_row) {
  constexpr int TALL = COLUMNS == 1 ? 8 : COLUMNS == 2 ? 6 : 4;
  int r = 0;
  for (; r + TALL <= rows; r += TALL) {
    product_block<TALL, COLUMNS>(a + r * a_row, a_row, a_inner, b, b_row, inner, factor, out + r * out_row, out_row);
  }
  product_rest<TALL, COLUMNS>(a + r * a_row, a_row, a_inner, b, b_row, rows - r, inner, factor, out + r * out_row,
                              out_row);
}

// out = factor · a b: a is rows×inner with any strides, b inner×columns and out rows×columns by rows, columns a multiple
// of eight. Every sum runs over `inner` in order, so blocking changes no bit.
__attribute__((noinline)) void product(const double* a, std::int64_t a_row, std::int64_t a_inner, const double* b,
                                       int b_row, int rows, int inner, int columns, double factor, double* out,
                                       int out_row) {
  int c = 0;
  for (; c + 32 <= columns; c += 32) {
    product_columns<4>(a, a_row, a_inner, b + c, b_row, rows, inner, factor, out + c, out_row);
  }
  for (; c + 16 <= columns; c += 16) {
    product_columns<2>(a, a_row, a_inner, b + c, b_row, rows, inner, factor, out + c, out_row);
  }
  for (; c < columns; c += 8) {
    product_columns<1>(a, a_row, a_inner, b + c, b_row, rows, inner, factor, out + c, out_row);
  }
}

// No query sees a token after its own but those of the prefix.
void hide_future(const AttentionTask& t, double* scores) {
  const int wide = padded(t.tokens);
  for (int i = 0; i < t.queries; ++i) {
    const int next = t.start + i + 1;
    for (int s = next > t.prefix ? next : t.prefix; s < t.tokens; ++s) scores[i * wide + s] = 0.0;
  }
}

std::int64_t attention_doubles(const AttentionTask& t) {
  const std::int64_t wide = padded(t.width), tall = padded(t.tokens > t.queries ? t.tokens : t.queries);
  return tall * (6 * wide + 2 * tall);
}

// Scores S = scale q kᵀ, y = S v: two products of T²d for T tokens, against the two of T d² with the d×d state; T is
// smaller here. Backward: dv = Sᵀ dy, dS = scale dy vᵀ, dq = dS k, dk = dSᵀ q. A group is one sequence of one head.
void attention(const AttentionTask& t, std::int64_t first, std::int64_t last, double* workspace) {
  const int wide = padded(t.width), tall = padded(t.tokens > t.queries ? t.tokens : t.queries);
  const int seen = padded(t.tokens), size = tall * wide;
  const std::int64_t arrays = t.backward ? 7 : 4, entries = t.batch * t.heads * t.tokens * t.width;
  const bool past_cache = 8 * arrays * entries > STREAMED_BYTES;  // of all that is read and written
  double *const q = workspace, *const k = q + size, *const v = k + size, *const dy = v + size, *const flip = dy + size;
  double *const out = flip + size, *const scores = out + size, *const slopes = scores + tall * tall;
  for (std::int64_t group = first; group < last; ++group) {
    const std::int64_t sequence = group / t.heads, head = group % t.heads;
    const auto at = [&](const Sequences& s) { return s.data + sequence * s.batch + head * s.head; };
    load_rows(at(t.q), t.q.token, t.queries, t.width, q);
    load_rows(at(t.k), t.k.token, t.tokens, t.width, k);
    load_rows(at(t.v), t.v.token, t.tokens, t.width, v);
    transpose_tile(k, t.tokens, t.width, flip);
    product(q, wide, 1, flip, seen, t.queries, t.width, seen, t.scale, scores, seen);
    if (t.causal) hide_future(t, scores);
    if (!t.backward) {
      product(scores, seen, 1, v, wide, t.queries, t.tokens, wide, 1.0, out, wide);
      store_rows(out, t.queries, t.width, at(t.y), t.y.token, past_cache);
      continue;
    }
    load_rows(at(t.y), t.y.token, t.queries, t.width, dy);
    product(scores, 1, seen, dy, wide, t.tokens, t.queries, wide, 1.0, out, wide);
    store_rows(out, t.tokens, t.width, at(t.dv), t.dv.token, past_cache);
    transpose_tile(v, t.tokens, t.width, flip);
    product(dy, wide, 1, flip, seen, t.queries, t.width, seen, t.scale, slopes, seen);
    if (t.causal) hide_future(t, slopes);
    product(slopes, seen, 1, k, wide, t.queries, t.tokens, wide, 1.0, out, wide);
    store_rows(out, t.queries, t.width, at(t.dq), t.dq.token, past_cache);
    product(slopes, 1, seen, q, wide, t.tokens, t.queries, wide, 1.0, out, wide);
    store_rows(out, t.tokens, t.width, at(t.dk), t.dk.token, past_cache);
  }
  fence();
}

// A group is a chunk of CONVOLUTION_CHUNK sequences: the sums over the batch are taken chunk by chunk, so that their
// order does not depend on the threads.
std::int64_t convolution_doubles(const ConvolutionTask& t) {
  return LANES * (5 * std::int64_t(t.tokens) + 2 * std::int64_t(t.taps) + 1);
}

// sums[s] = bias + Σ_k h_k u_(s−first−k)
PL_INLINE void convolve(const ConvolutionTask& t, const Lanes* u, const Lanes* h, Lanes bias, Lanes* sums) {
  for (int s = 0; s < t.tokens; ++s) {
    Lanes sum = bias;
    const Range range = taps_before(t, s);
    for (int k = range.from; k < range.to; ++k) sum = madd(h[k], u[s - t.first - k], sum);
    sums[s] = sum;
  }
}

void convolution(const ConvolutionTask& t, std::int64_t first, std::int64_t last, double* workspace) {
  Lanes* const u = reinterpret_cast<Lanes*>(workspace);
  Lanes *const z = u + t.tokens, *const dz = z + t.tokens, *const h = dz + t.tokens, *const dh = h + t.taps;
  for (std::int64_t chunk = first; chunk < last; ++chunk) {
    const std::int64_t begin = chunk * CONVOLUTION_CHUNK;
    const std::int64_t end = begin + CONVOLUTION_CHUNK < t.batch ? begin + CONVOLUTION_CHUNK : t.batch;
    for (int c = 0; c < t.width; c += 8) {
      const int some = t.width - c;
      const Lanes bias = load_some(t.bias + c, some);
      for (int k = 0; k < t.taps; ++k) h[k] = load_some(t.filter + std::int64_t(k) * t.width + c, some);
      for (int k = 0; k <= t.taps; ++k) dh[k] = Lanes(0.0);
      for (std::int64_t sequence = begin; sequence < end; ++sequence) {
        const std::int64_t at = sequence * t.tokens * t.width + c;
        for (int s = 0; s < t.tokens; ++s) u[s] = load_some(t.u + at + std::int64_t(s) * t.width, some);
        convolve(t, u, h, bias, z);
        if (!t.backward) {
          for (int s = 0; s < t.tokens; ++s) {
            const std::int64_t here = at + std::int64_t(s) * t.width;
            store_some(z[s] * load_some(t.gate + here, some), t.y + here, some);
          }
          continue;
        }
        for (int s = 0; s < t.tokens; ++s) {
          const std::int64_t here = at + std::int64_t(s) * t.width;
          const Lanes dy = load_some(t.dy + here, some);
          store_some(dy * z[s], t.dgate + here, some);
          dz[s] = dy * load_some(t.gate + here, some);
          dh[t.taps] = dh[t.taps] + dz[s];
        }
        for (int s = 0; s < t.tokens; ++s) {
          Lanes sum(0.0);
          const Range range = taps_after(t, s);
          for (int k = range.from; k < range.to; ++k) sum = madd(h[k], dz[s + t.first + k], sum);
          store_some(sum, t.du + at + std::int64_t(s) * t.width, some);
        }
        for (int k = 0; k < t.taps; ++k) {
          Lanes sum = dh[k];
          const Range range = tokens_under(t, k);
          for (int s = range.from; s < range.to; ++s) sum = madd(dz[s], u[s - t.first - k], sum);
          dh[k] = sum;
        }
      }
      if (t.backward) {
        double* const partial = t.partials + chunk * (t.taps + 1) * t.width + c;
        for (int k = 0; k <= t.taps; ++k) store_some(dh[k], partial + std::int64_t(k) * t.width, some);
      }
    }
  }
}

}  // namespace

extern const Kernel<AttentionTask> attention_kernel;
const Kernel<AttentionTask> attention_kernel = {attention, attention_doubles};
extern const Kernel<ConvolutionTask> convolution_kernel;
const Kernel<ConvolutionTask> convolution_kernel = {convolution, convolution_doubles};

}  // namespace precisionlab::PL_LEVEL
