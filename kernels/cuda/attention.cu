// Linear attention on the GPU: one block a sequence and head, its tiles in shared memory. The sums run in the CPU's order,
// so the bits are the CPU's.
#include "launch.h"
#include "precisionlab/portable.h"

namespace precisionlab::device {

namespace {

constexpr int THREADS = 128, TALL = 2, WIDE = 4;  // a thread sums TALL×WIDE entries of a product at a time

struct Matrix {
  const double* at;
  int row, column;
  __device__ __forceinline__ double operator()(int i, int j) const { return at[i * row + j * column]; }
  __device__ __forceinline__ Matrix transposed() const { return {at, column, row}; }
};

// store(i, j, factor · Σ_k a(i, k) b(k, j)), the sum in the order of k. Neighbouring threads take neighbouring columns.
template <class Store>
__device__ __forceinline__ void product(const Matrix& a, const Matrix& b, int rows, int inner, int columns,
                                        double factor, const Store& store) {
  const int across = (columns + WIDE - 1) / WIDE, down = (rows + TALL - 1) / TALL;
  for (int block = threadIdx.x; block < across * down; block += THREADS) {
    int i[TALL], j[WIDE];
    each<TALL>(TALL, [&](int r) { i[r] = block / across * TALL + r; });
    each<WIDE>(WIDE, [&](int c) { j[c] = block % across + across * c; });
    double sum[TALL][WIDE];
    each<TALL>(TALL, [&](int r) { each<WIDE>(WIDE, [&](int c) { sum[r][c] = 0.0; }); });
    for (int k = 0; k < inner; ++k) {
      double left[TALL];
      each<TALL>(TALL, [&](int r) { left[r] = a(i[r] < rows ? i[r] : rows - 1, k); });
      each<WIDE>(WIDE, [&](int c) {
        const double right = b(k, j[c] < columns ? j[c] : columns - 1);
        each<TALL>(TALL, [&](int r) { sum[r][c] = madd(left[r], right, sum[r][c]); });
      });
    }
    each<TALL>(TALL, [&](int r) {
      each<WIDE>(WIDE, [&](int c) {
        if (i[r] < rows && j[c] < columns) store(i[r], j[c], sum[r][c] * factor);
      });
    });
  }
}

// The rows of a tile are an odd number of doubles apart: down a column, threads then meet in no bank.
__host__ __device__ inline int pitch(int width) { return width | 1; }

__device__ __forceinline__ double* place(const Sequences& s, std::int64_t sequence, int head) {
  return s.data + sequence * s.batch + head * s.head;
}

__device__ __forceinline__ Matrix load(const double* source, std::int64_t stride, int rows, int width, double* tile) {
  const int row = pitch(width);
  for (int e = threadIdx.x; e < rows * width; e += THREADS) {
    tile[e / width * row + e % width] = source[e / width * stride + e % width];
  }
  return {tile, row, 1};
}

__global__ void __launch_bounds__(THREADS) attention(AttentionTask t) {
  PL_DYNAMIC_SHARED(shared);
  const std::int64_t sequence = blockIdx.x / t.heads;
  const int head = static_cast<int>(blockIdx.x % t.heads), wide = pitch(t.width), seen = pitch(t.tokens);
  double* room = shared;
  const auto take = [&](int doubles) {
    double* const taken = room;
    room += doubles;
    return taken;
  };
  const auto read = [&](const Sequences& s, int rows) {
    return load(place(s, sequence, head), s.token, rows, t.width, take(rows * wide));
  };
  const auto write_to = [&](const Sequences& s) {
    double* const out = place(s, sequence, head);
    const std::int64_t row = s.token;
    return [=](int i, int j, double value) { out[i * row + j] = value; };
  };
  // No query sees a token after its own but those of the prefix.
  const auto visible_to = [&](double* out) {
    const int own = t.causal ? t.start : t.tokens, prefix = t.prefix;
    return [=](int i, int j, double value) { out[i * seen + j] = j > own + i && j >= prefix ? 0.0 : value; };
  };
  const Matrix q = read(t.q, t.queries), k = read(t.k, t.tokens), v = read(t.v, t.tokens);
  double* const kept = take(t.queries * seen);
  const Matrix scores{kept, seen, 1};
  const Matrix dy = t.backward ? read(t.y, t.queries) : q;
  __syncthreads();
  product(q, k.transposed(), t.queries, t.width, t.tokens, t.scale, visible_to(kept));
  if (!t.backward) {
    __syncthreads();
    product(scores, v, t.queries, t.tokens, t.width, 1.0, write_to(t.y));
    return;
  }
  double* const sloped = take(t.queries * seen);
  const Matrix slopes{sloped, seen, 1};
  product(dy, v.transposed(), t.queries, t.width, t.tokens, t.scale, visible_to(sloped));
  __syncthreads();
  product(scores.transposed(), dy, t.tokens, t.queries, t.width, 1.0, write_to(t.dv));
  product(slopes, k, t.queries, t.tokens, t.width, 1.0, write_to(t.dq));
  product(slopes.transposed(), q, t.tokens, t.queries, t.width, 1.0, write_to(t.dk));
}

std::int64_t shared_bytes(const AttentionTask& t) {
  const std::int64_t wide = pitch(t.width), seen = pitch(t.tokens), often = t.backward ? 2 : 1;
  return 8 * (2 * t.tokens * wide + often * t.queries * (wide + seen));
}

}  // namespace

bool takes(const AttentionTask& task) { return shared_bytes(task) <= SHARED_BYTES; }

const char* run(const AttentionTask& task, void* stream) {
  return start(attention, task.batch * task.heads, THREADS, static_cast<int>(shared_bytes(task)), stream, task);
}

}  // namespace precisionlab::device
