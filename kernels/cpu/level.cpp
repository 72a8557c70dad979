// The table of one instruction set. Compiled once per instruction set.
#include "lanes.h"
#include "precisionlab/dispatch.h"

#define PL_STRING_(x) #x
#define PL_STRING(x) PL_STRING_(x)

namespace precisionlab::PL_LEVEL {

extern const Kernel<IteratesTask> iterates_kernel;
extern const Kernel<SchulzTask> schulz_kernel;
extern const Kernel<HouseholderTask> householder_kernel;
extern const Kernel<CholeskyTask> cholesky_kernel;
extern const Kernel<ConvolutionTask> convolution_kernel;

extern const Level level;
const Level level = {PL_STRING(PL_LEVEL), PL_FAST_FMA,     iterates_kernel,   schulz_kernel,
                     householder_kernel,      cholesky_kernel, convolution_kernel};

}  // namespace precisionlab::PL_LEVEL
