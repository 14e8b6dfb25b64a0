// The logistic function and tanh of a vector, from one expm1.
//
//   x = n ln 2 + r, |r| <= ln(2)/2       e^r - 1 = p(r) = r + r^2 q(r), q a weighted minimax fit
//   e^x = 2^n (1 + p)                    e^x - 1 = 2^n p + (2^n - 1)
//   sigmoid(x) = 1 / (1 + e^-x)          tanh(x) = (e^2x - 1) / ((e^2x - 1) + 2)
//
// Error of q, relative to e^r - 1: 1.3e-8 (float), 1.8e-17 (double). Of the results, as tested:
// tanh within 3 units in the last place, and never beyond -1 or 1; sigmoid likewise down to x = -87
// (double: -708), below which it stays at the smallest normal numbers. NaN gives NaN.

#pragma once

#include "vector.h"

#if defined(TT_RECIPROCAL)
#include <immintrin.h>
#endif

namespace throughtime {
namespace TT_ISA {

template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  static constexpr int degree = 4, mantissa = 23, bias = 127;
  static constexpr float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves n in the low bits
  static constexpr float lowest = -87.0f, tanh_saturates = 10.0f;
  static constexpr float q[] = {0.499999981538f, 0.166665436177f, 0.0416671999425f,
                                0.00836652089482f, 0.00138825157742f};
};

template <>
struct Exponential<double> {
  static constexpr int degree = 9, mantissa = 52, bias = 1023;
  static constexpr double log2e = 1.4426950408889634, ln2_high = 0.69314718036912382,
                          ln2_low = 1.9082149292705877e-10;
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double lowest = -708.0, tanh_saturates = 20.0;
  static constexpr double q[] = {0.50000000000000051802,    0.16666666666666589276,
                                 0.041666666666576746541,   0.0083333333333895501187,
                                 0.0013888888931567089594,  0.00019841269719016847141,
                                 0.000024801505271495096966, 2.7557407529975534989e-6,
                                 2.7626038698374164711e-7,  2.5053779906746384036e-8};
};

// 2^n and p with e^x = 2^n (1 + p).
template <class T>
TT_INLINE void exponential(Vec<T> x, Vec<T>& power, Vec<T>& p) {
  using E = Exponential<T>;
  Vec<T> shifted = x * E::log2e + E::round;
  Vec<T> n = shifted - E::round;
  Vec<T> r = (x - n * E::ln2_high) - n * E::ln2_low;
  Vec<T> q = fill<T>(E::q[E::degree]);
#pragma GCC unroll 16
  for (int k = E::degree - 1; k >= 0; --k) q = q * r + E::q[k];
  p = (r * r) * q + r;
  power = (Vec<T>)(((Bits<T>)shifted + E::bias) << E::mantissa);
}

template <class T>
TT_INLINE Vec<T> quotient(Vec<T> a, Vec<T> b) {
  return a / b;
}

#if defined(TT_RECIPROCAL)
// A reciprocal of 14 bits, one step of Newton's and a correction: faster than a division.
template <>
TT_INLINE Vec<float> quotient<float>(Vec<float> a, Vec<float> b) {
  Vec<float> r = (Vec<float>)_mm512_maskz_rcp14_ps(0xffff, (__m512)b);
  r = r + r * (1.0f - b * r);
  Vec<float> y = a * r;
  return y + r * (a - b * y);
}
#endif

template <class T>
TT_INLINE Vec<T> sigmoid(Vec<T> x) {
  Vec<T> power, p;
  x = at_least<T>(x, Exponential<T>::lowest);
  exponential<T>(at_least<T>(-x, Exponential<T>::lowest), power, p);
  return quotient<T>(fill<T>(1), (power * p + power) + T(1));
}

template <class T>
TT_INLINE Vec<T> tanh(Vec<T> x) {
  Vec<T> power, p;
  constexpr T limit = Exponential<T>::tanh_saturates;
  x = at_least<T>(at_most<T>(x, limit), -limit);
  exponential<T>(x + x, power, p);
  Vec<T> e = power * p + (power - T(1));
  return quotient<T>(e, e + T(2));
}

}  // namespace TT_ISA
}  // namespace throughtime
