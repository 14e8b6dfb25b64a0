#include "problem.h"

#if defined(__x86_64__)

#include <cstdint>
#include <cstring>
#include <immintrin.h>

#include "team.h"

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif

#define TT_ISA avx512
#define TT_VECTOR_BYTES 64
#define TT_RECIPROCAL
#include "kernels.h"

namespace throughtime {
const Kernels avx512_kernels = avx512::kernels;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
