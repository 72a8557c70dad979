#include "memory.h"

#include <cstdlib>
#include <deque>
#include <mutex>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace precisionlab::memory {
namespace {

constexpr std::size_t PAGE = std::size_t(2) << 20;

struct Block {
  void* start;
  std::size_t bytes;
};

// The blocks that nobody uses, the last one handed back in front. Never destroyed: results may outlive this module.
struct Idle {
  std::mutex lock;
  std::deque<Block> blocks;
  std::size_t bytes = 0;
};

Idle& idle() {
  static Idle* const kept = new Idle;
  return *kept;
}

std::size_t whole_pages(std::size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

}  // namespace

void* take(std::size_t bytes) {
  bytes = whole_pages(bytes);
  Idle& kept = idle();
  {
    const std::lock_guard<std::mutex> locked(kept.lock);
    for (auto block = kept.blocks.begin(); block != kept.blocks.end(); ++block) {
      if (block->bytes != bytes) continue;
      void* const start = block->start;
      kept.blocks.erase(block);
      kept.bytes -= bytes;
      return start;
    }
  }
  void* const start = std::aligned_alloc(PAGE, bytes);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (start != nullptr) madvise(start, bytes, MADV_HUGEPAGE);  // a hint: a refusal is of no consequence
#endif
  return start;
}

void give_back(void* block, std::size_t bytes) noexcept {
  bytes = whole_pages(bytes);
  if (bytes > KEPT) return std::free(block);
  Idle& kept = idle();
  const std::lock_guard<std::mutex> locked(kept.lock);
  try {
    kept.blocks.push_front({block, bytes});
  } catch (...) {
    return std::free(block);
  }
  for (kept.bytes += bytes; kept.bytes > KEPT; kept.blocks.pop_back()) {
    std::free(kept.blocks.back().start);
    kept.bytes -= kept.blocks.back().bytes;
  }
}

std::size_t release() noexcept {
  Idle& kept = idle();
  const std::lock_guard<std::mutex> locked(kept.lock);
  const std::size_t released = kept.bytes;
  for (const Block& block : kept.blocks) std::free(block.start);
  kept.blocks.clear();
  kept.bytes = 0;
  return released;
}

}  // namespace precisionlab::memory
