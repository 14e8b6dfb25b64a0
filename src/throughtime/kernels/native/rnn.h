// The vanilla recurrence.
//
//   a_t = W x_t + U h_{t-1} + b        h_t = phi(a_t), phi = tanh or ReLU
//   da_t = phi'(a_t) * dh_t            phi' = 1 - h_t^2  or  [h_t > 0]
//   dh_{t-1} = e_{t-1} + U' da_t

#pragma once

#include "recurrence.h"

namespace throughtime {
namespace TT_ISA {

template <bool RELU>
struct RnnCell : Plain<RnnCell<RELU>> {
  static constexpr int GATES = 1, PARTS = 1, X_FIRST = 0, X = 1, H_FIRST = 0, HP = 1;
  static constexpr int KEPT = 0, WIDTH = 4;
  static constexpr bool CELL_STATE = false;
  static constexpr int x_gates[] = {0}, h_gates[] = {0};

  template <class T>
  static TT_INLINE void activate(const Vec<T>* a, const Step<T>& step, const Place& at) {
    Vec<T> h = RELU ? at_least<T>(a[0], 0) : tanh<T>(a[0]);
    write_h<T>(step, at, carried(step, at) ? load(step.h + at.at) : h);
  }

  template <class T>
  static TT_INLINE void differentiate(const StepBack<T>& step, const Place& at) {
    Vec<T> dh = load(step.dh + at.at), h = load(step.h_next + at.at), da = {};
    if (!carried(step, at)) {
      da = RELU ? (h > T(0) ? dh : Vec<T>{}) : dh * (T(1) - h * h);
      store(step.dh + at.at, Vec<T>{});
    }
    write_da<T>(step, at, PARTS, 0, da);
  }
};

}  // namespace TT_ISA
}  // namespace throughtime
