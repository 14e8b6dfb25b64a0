// Vectors of the compiler (GCC, Clang): one source for every processor.
//
// A file that is compiled for a processor says how wide a vector is, TT_VECTOR_BYTES, and in which
// namespace its code lives, TT_ISA. Nothing of the standard library is instantiated in there: the
// linker would be free to keep the copy that another processor cannot run.

#pragma once

#include <cstdint>
#include <cstring>

#define TT_INLINE inline __attribute__((always_inline))

namespace throughtime {
namespace TT_ISA {

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(TT_VECTOR_BYTES)));
  typedef int32_t bits __attribute__((vector_size(TT_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(TT_VECTOR_BYTES)));
  typedef int64_t bits __attribute__((vector_size(TT_VECTOR_BYTES)));
};

template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
using Bits = typename VectorOf<T>::bits;
template <class T>
constexpr int LANES = TT_VECTOR_BYTES / sizeof(T);

template <class T>
TT_INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
TT_INLINE void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof v);
}

template <class T>
TT_INLINE Vec<T> fill(T value) {
  return value - Vec<T>{};  // not zero + value: that would have to turn -0 into 0
}

// The first n lanes; the others are zero.
template <class T>
TT_INLINE Vec<T> load_part(const T* from, int n) {
  if (n >= LANES<T>) return load(from);
  T lanes[LANES<T>] = {};
  for (int i = 0; i < n; ++i) lanes[i] = from[i];
  return load(lanes);
}

template <class T>
TT_INLINE void store_part(T* to, Vec<T> v, int n) {
  if (n >= LANES<T>) return store(to, v);
  T lanes[LANES<T>];
  store(lanes, v);
  for (int i = 0; i < n; ++i) to[i] = lanes[i];
}

// Limits that let a NaN pass.
template <class T>
TT_INLINE Vec<T> at_most(Vec<T> v, T limit) {
  return v > limit ? fill(limit) : v;
}
template <class T>
TT_INLINE Vec<T> at_least(Vec<T> v, T limit) {
  return v < limit ? fill(limit) : v;
}

template <class T>
TT_INLINE T sum(Vec<T> v) {
  T lanes[LANES<T>];
  store(lanes, v);
  for (int width = LANES<T> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

}  // namespace TT_ISA
}  // namespace throughtime
