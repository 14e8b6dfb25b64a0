// For every processor: vectors of 16 bytes, which are SSE2 or NEON where the compiler has them.

#define TT_ISA portable
#define TT_VECTOR_BYTES 16
#include "kernels.h"

namespace throughtime {
const Kernels portable_kernels = portable::kernels;
}
