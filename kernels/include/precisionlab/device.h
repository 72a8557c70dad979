// The CUDA kernels: the same tasks as on the CPU, their pointers on the device.
#pragma once

#include "dispatch.h"

namespace precisionlab::device {

// Whether a kernel for these sizes was compiled. The rest is for eager code.
bool takes(const IteratesTask& task);
bool takes(const HouseholderTask& task);

// Launch on `stream` (a cudaStream_t); the text of the error, or nullptr.
const char* run(const IteratesTask& task, void* stream);
const char* run(const HouseholderTask& task, void* stream);

}  // namespace precisionlab::device
