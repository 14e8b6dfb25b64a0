// The LSTM; parts in PyTorch's order i f g o.
//
//   i, f, o = sigmoid(a_i, a_f, a_o)    g = tanh(a_g)
//   c_t = f * c_{t-1} + i * g           h_t = o * tanh(c_t)
//
//   dc_t += dh_t * o * (1 - tanh(c_t)^2)
//   da_o = dh_t * tanh(c_t) * o(1 - o)      da_i = dc_t * g * i(1 - i)
//   da_f = dc_t * c_{t-1} * f(1 - f)        da_g = dc_t * i * (1 - g^2)
//   dc_{t-1} = dc_t * f                     dh_{t-1} = e_{t-1} + U' da_t

#pragma once

#include "recurrence.h"

namespace throughtime {
namespace TT_ISA {

struct LstmCell : Plain<LstmCell> {
  static constexpr int GATES = 4, PARTS = 4, X_FIRST = 0, X = 4, H_FIRST = 0, HP = 4;
  static constexpr int KEPT = 4, WIDTH = 1;
  static constexpr bool CELL_STATE = true;
  static constexpr int x_gates[] = {0, 1, 2, 3}, h_gates[] = {0, 1, 2, 3};

  template <class T>
  static TT_INLINE void activate(const Vec<T>* a, const Step<T>& step, const Place& at) {
    Vec<T> before = load(step.c + at.at);
    if (carried(step, at)) {
      store(step.c_next + at.at, before);
      return write_h<T>(step, at, load(step.h + at.at));
    }
    Vec<T> i = sigmoid<T>(a[0]), f = sigmoid<T>(a[1]), g = tanh<T>(a[2]), o = sigmoid<T>(a[3]);
    Vec<T> c = f * before + i * g;
    store(step.c_next + at.at, c);
    write_h<T>(step, at, o * tanh<T>(c));
    if (!step.kept) return;
    T* kept = step.kept + at.at * KEPT;
    store(kept, i);
    store(kept + LANES<T>, f);
    store(kept + 2 * LANES<T>, g);
    store(kept + 3 * LANES<T>, o);
  }

  template <class T>
  static TT_INLINE void differentiate(const StepBack<T>& step, const Place& at) {
    Vec<T> da[PARTS] = {};
    if (!carried(step, at)) {
      const T* kept = step.kept + at.at * KEPT;
      Vec<T> i = load(kept), f = load(kept + LANES<T>), g = load(kept + 2 * LANES<T>),
             o = load(kept + 3 * LANES<T>);
      Vec<T> tanh_c = tanh<T>(load(step.c_next + at.at)), before = load(step.c + at.at);
      Vec<T> dh = load(step.dh + at.at), o_dh = o * dh;
      Vec<T> dc = load(step.dc + at.at) + o_dh * (T(1) - tanh_c * tanh_c);
      Vec<T> i_dc = i * dc, f_dc = f * dc;
      da[0] = i_dc * g * (T(1) - i);
      da[1] = f_dc * before * (T(1) - f);
      da[2] = i_dc * (T(1) - g * g);
      da[3] = o_dh * tanh_c * (T(1) - o);
      store(step.dc + at.at, f_dc);
      store(step.dh + at.at, Vec<T>{});
    }
#pragma GCC unroll 4
    for (int g = 0; g < PARTS; ++g) write_da<T>(step, at, PARTS, g, da[g]);
  }
};

}  // namespace TT_ISA
}  // namespace throughtime
