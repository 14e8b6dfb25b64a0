// Numbers too small to be stored in full count as zero, while one of these lives.
//
// A gradient that vanishes goes through them on its way to zero, and a processor computes with them up
// to a hundred times slower: the backward pass over a long series took twenty times as long as over
// a short one. What is below 1e-38 (in double precision, 1e-308) moves no weight.

#pragma once

#include <cstdint>

#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace throughtime {

class Flush {
 public:
  Flush(const Flush&) = delete;
  Flush& operator=(const Flush&) = delete;
#if defined(__SSE__) || defined(_M_X64)
  Flush() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040u); }  // of results and of arguments
  ~Flush() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__) && defined(__GNUC__)
  Flush() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" ::"r"(before_ | uint64_t{1} << 24));
  }
  ~Flush() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  uint64_t before_;
#else
  Flush() {}
  ~Flush() {}
#endif
};

}  // namespace throughtime
