// The minGRU; p has the blocks z n, g is the identity or positive.
//
//   z = sigmoid(p_z)    n = g(p_n)              h_t = h_{t-1} + z * (n - h_{t-1})
//   dp_z = (n - h_{t-1}) * dh_t * z(1 - z)      dp_n = g'(p_n) * z * dh_t

#pragma once

#include "linear_scan.h"

namespace throughtime {
namespace TT_ISA {

template <bool POSITIVE>
struct MinGruCell {
  static constexpr int PARTS = 2;
  using G = Candidate<POSITIVE>;

  template <class T>
  static TT_INLINE Vec<T> step(const Vec<T>* p, Vec<T> before) {
    return before + sigmoid<T>(p[0]) * (G::template of<T>(p[1]) - before);
  }

  // Writes dp, returns what goes on to h_{t-1}.
  template <class T>
  static TT_INLINE Vec<T> step_back(const Vec<T>* p, Vec<T> before, Vec<T> dh, Vec<T>* dp) {
    Vec<T> z = sigmoid<T>(p[0]), z_dh = z * dh;
    dp[0] = (G::template of<T>(p[1]) - before) * z_dh * (T(1) - z);
    dp[1] = G::template slope<T>(p[1]) * z_dh;
    return dh - z_dh;
  }
};

}  // namespace TT_ISA
}  // namespace throughtime
