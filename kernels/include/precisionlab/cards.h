// Which tasks the CUDA kernels take on which GPU, from two numbers that a GPU says of itself: no GPU is needed to know it.
#pragma once

#include "device.h"

namespace precisionlab::device {

struct Card {
  int capability;             // ten times the major number, and the minor one
  std::int64_t shared_bytes;  // what a block may have where it asks for it
};

constexpr int MACHINE_CODE[] = {PL_MACHINE_CODE};  // compute capabilities, from CMakeLists.txt
constexpr int PTX = PL_PTX;

// Whether a GPU can run what was compiled: machine code of its own major number and no later minor one, or the PTX that a
// driver translates for what is newer.
inline bool loads(int capability) {
  for (const int built : MACHINE_CODE) {
    if (built / 10 == capability / 10 && built <= capability) return true;
  }
  return PTX <= capability;
}

// Whether a kernel takes a task's sizes on such a GPU; pointers and batch are not looked at. The rest is for eager code.
template <class Task>
bool takes(const Task& task, const Card& card) {
  return loads(card.capability) && has_kernel(task) && shared_bytes(task) <= card.shared_bytes;
}

}  // namespace precisionlab::device
