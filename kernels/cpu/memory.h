// Memory for large results, used again once a result is gone.
//
// Fresh memory is faulted in and cleared before the first number is written to it: for 66 MB of iterates that takes as
// long as computing them. So blocks that come back are kept, up to a limit, for the next result of the same size.
#pragma once
#include <cstddef>

namespace precisionlab::memory {

// Bytes that are kept at most.
constexpr std::size_t KEPT = std::size_t(256) << 20;

// A block of that many bytes, on a large page's boundary and not cleared, or nullptr where there is none to be had.
void* take(std::size_t bytes);

// Hand back what `take` gave for that many bytes.
void give_back(void* block, std::size_t bytes) noexcept;

// Return all kept blocks to the system; how many bytes those were.
std::size_t release() noexcept;

}  // namespace precisionlab::memory
