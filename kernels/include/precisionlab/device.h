// The CUDA kernels: the same tasks as on the CPU, their pointers on the device.
#pragma once

#include "dispatch.h"

namespace precisionlab::device {

// Whether a kernel for these sizes was compiled; pointers and batch are not looked at. The rest is for eager code.
bool takes(const IteratesTask& task);
bool takes(const SchulzTask& task);
bool takes(const HouseholderTask& task);
bool takes(const AttentionTask& task);
bool takes(const ConvolutionTask& task);

// Launch on `stream` (a cudaStream_t) of the current device; the text of the error, or nullptr.
const char* run(const IteratesTask& task, void* stream);
const char* run(const SchulzTask& task, void* stream);
const char* run(const HouseholderTask& task, void* stream);
const char* run(const AttentionTask& task, void* stream);
const char* run(const ConvolutionTask& task, void* stream);

}  // namespace precisionlab::device
