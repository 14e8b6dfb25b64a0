// The minLSTM; p has the blocks i f g, g is the identity or positive.
//
//   i, f = sigmoid(p_i, p_f)    g = g(p_g)    s = i / (i + f)    h_t = h_{t-1} + s * (g - h_{t-1})
//   ds = (g - h_{t-1}) * dh_t       dp_i = ds * s(1 - s) * (1 - i)      dp_f = -ds * s(1 - s) * (1 - f)
//   dp_g = g'(p_g) * s * dh_t

#pragma once

#include "linear_scan.h"

namespace throughtime {
namespace TT_ISA {

template <bool POSITIVE>
struct MinLstmCell {
  static constexpr int PARTS = 3;
  using G = Candidate<POSITIVE>;

  template <class T>
  static TT_INLINE Vec<T> step(const Vec<T>* p, Vec<T> before) {
    Vec<T> i = sigmoid<T>(p[0]), s = quotient<T>(i, i + sigmoid<T>(p[1]));
    return before + s * (G::template of<T>(p[2]) - before);
  }

  // Writes dp, returns what goes on to h_{t-1}.
  template <class T>
  static TT_INLINE Vec<T> step_back(const Vec<T>* p, Vec<T> before, Vec<T> dh, Vec<T>* dp) {
    Vec<T> i = sigmoid<T>(p[0]), f = sigmoid<T>(p[1]), s = quotient<T>(i, i + f), s_dh = s * dh;
    Vec<T> both = (G::template of<T>(p[2]) - before) * s_dh * (T(1) - s);
    dp[0] = both * (T(1) - i);
    dp[1] = -both * (T(1) - f);
    dp[2] = G::template slope<T>(p[2]) * s_dh;
    return dh - s_dh;
  }
};

}  // namespace TT_ISA
}  // namespace throughtime
