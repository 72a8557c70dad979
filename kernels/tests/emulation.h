// The CUDA kernels on the host: a block's threads are threads of the machine, its barriers are barriers, and blocks run
// one after the other. The sanitizers then see what they would do on a GPU: an index out of range, a missing barrier.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // one block runs at a time
#define PL_DYNAMIC_SHARED(name) double* const name = ::precisionlab::device::emulated::block->shared.get()

namespace precisionlab::device {

namespace emulated {

// Atomics and no mutex: taking a mutex on the way out would order threads that a barrier does not, and hide from the thread
// sanitizer that one is missing.
class Barrier {
 public:
  explicit Barrier(int count) : count_(count) {}
  void wait() {
    const unsigned turn = turn_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
      waiting_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
    } else {
      while (turn_.load(std::memory_order_acquire) == turn) std::this_thread::yield();
    }
  }

 private:
  const int count_;
  std::atomic<int> waiting_{0};
  std::atomic<unsigned> turn_{0};
};

struct Warp {
  Barrier barrier{32};
  double slots[32];
};

struct Block {
  Barrier barrier;
  std::unique_ptr<Warp[]> warps;
  std::unique_ptr<double[]> shared;
  Block(int threads, std::size_t doubles)
      : barrier(threads), warps(new Warp[static_cast<std::size_t>(threads) / 32]), shared(new double[doubles]) {}
};

struct Index {
  unsigned x;
};

inline thread_local Block* block = nullptr;
inline thread_local Index thread, number;

}  // namespace emulated

#define threadIdx (::precisionlab::device::emulated::thread)
#define blockIdx (::precisionlab::device::emulated::number)

inline emulated::Warp& own_warp() { return emulated::block->warps[threadIdx.x / 32]; }
inline void __syncthreads() { emulated::block->barrier.wait(); }
inline void __syncwarp() { own_warp().barrier.wait(); }
inline double __shfl_xor_sync(unsigned, double value, int mask) {
  emulated::Warp& warp = own_warp();
  warp.slots[threadIdx.x % 32] = value;
  warp.barrier.wait();
  const double other = warp.slots[(threadIdx.x % 32) ^ static_cast<unsigned>(mask)];
  warp.barrier.wait();
  return other;
}

template <class Task>
bool granted(void (*)(Task), std::int64_t) {
  return true;
}

template <class Task>
const char* start(void (*kernel)(Task), std::int64_t blocks, int threads, std::int64_t shared_bytes, void*, const Task& task) {
  const auto doubles = static_cast<std::size_t>(shared_bytes) / sizeof(double);
  emulated::Block block(threads, doubles);
  std::vector<std::thread> started;
  for (int i = 0; i < threads; ++i) {
    started.emplace_back([&, i] {
      emulated::block = &block;
      emulated::thread.x = static_cast<unsigned>(i);
      for (std::int64_t k = 0; k < blocks; ++k) {
        emulated::number.x = static_cast<unsigned>(k);
        if (i == 0) {  // what the block before left is not to be read
          for (std::size_t e = 0; e < doubles; ++e) block.shared[e] = std::numeric_limits<double>::quiet_NaN();
        }
        block.barrier.wait();
        kernel(task);
        block.barrier.wait();
      }
    });
  }
  for (std::thread& one : started) one.join();
  return nullptr;
}

}  // namespace precisionlab::device
