#include "problem.h"

#if defined(__x86_64__)

#include <cstdint>
#include <cstring>
#include <immintrin.h>

#include "team.h"

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define TT_ISA avx2
#define TT_VECTOR_BYTES 32
#include "kernels.h"

namespace throughtime {
const Kernels avx2_kernels = avx2::kernels;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
