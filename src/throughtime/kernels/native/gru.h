// The GRU in both forms; PyTorch's gates are r z n.
//
//            r, z = sigmoid(a_r, a_z)
//   after    n = tanh(a_n + r * q)    q = U_n h_{t-1} + b_hn     parts q r z n: the state reaches
//                                                                q r z, the input r z n
//   before   n = tanh(a_n + U_n s)    s = r * h_{t-1}            parts r z n, in two products
//            h_t = n + z * (h_{t-1} - n)
//
//            da_z = dh_t * (h_{t-1} - n) * z(1 - z)       da_n = dh_t * (1 - z) * (1 - n^2)
//   after    dq = da_n * r            da_r = dq * q * (1 - r)
//            dh_{t-1} = e_{t-1} + z * dh_t + U_r' da_r + U_z' da_z + U_n' dq
//   before   ds = U_n' da_n           da_r = ds * h_{t-1} * r(1 - r)
//            dh_{t-1} = e_{t-1} + z * dh_t + r * ds + U_r' da_r + U_z' da_z

#pragma once

#include "recurrence.h"

namespace throughtime {
namespace TT_ISA {

struct GruAfterCell : Plain<GruAfterCell> {
  static constexpr int GATES = 3, PARTS = 4, X_FIRST = 1, X = 3, H_FIRST = 0, HP = 3;
  static constexpr int KEPT = 4, WIDTH = 1;
  static constexpr bool CELL_STATE = false;
  static constexpr int x_gates[] = {0, 1, 2}, h_gates[] = {2, 0, 1};

  template <class T>
  static TT_INLINE void activate(const Vec<T>* a, const Step<T>& step, const Place& at) {
    Vec<T> before = load(step.h + at.at);
    if (carried(step, at)) return write_h<T>(step, at, before);
    Vec<T> q = a[0], r = sigmoid<T>(a[1]), z = sigmoid<T>(a[2]), n = tanh<T>(a[3] + r * q);
    write_h<T>(step, at, n + z * (before - n));
    if (!step.kept) return;
    T* kept = step.kept + at.at * KEPT;
    store(kept, q);
    store(kept + LANES<T>, r);
    store(kept + 2 * LANES<T>, z);
    store(kept + 3 * LANES<T>, n);
  }

  template <class T>
  static TT_INLINE void differentiate(const StepBack<T>& step, const Place& at) {
    Vec<T> da[PARTS] = {};
    if (!carried(step, at)) {
      const T* kept = step.kept + at.at * KEPT;
      Vec<T> q = load(kept), r = load(kept + LANES<T>), z = load(kept + 2 * LANES<T>),
             n = load(kept + 3 * LANES<T>);
      Vec<T> dh = load(step.dh + at.at), before = load(step.h + at.at), z_dh = z * dh;
      da[2] = z_dh * (before - n) * (T(1) - z);
      da[3] = (dh - z_dh) * (T(1) - n * n);
      da[0] = da[3] * r;
      da[1] = da[0] * q * (T(1) - r);
      store(step.dh + at.at, z_dh);
    }
#pragma GCC unroll 4
    for (int g = 0; g < PARTS; ++g) write_da<T>(step, at, PARTS, g, da[g]);
  }
};

struct GruBeforeCell : Plain<GruBeforeCell> {
  static constexpr int GATES = 3, PARTS = 3, X_FIRST = 0, X = 3, H_FIRST = 0, HP = 2, SECOND = 1;
  static constexpr int KEPT = 3, WIDTH = 1, SPARE = 3, SPARE_BACK = 1;
  static constexpr bool CELL_STATE = false;
  static constexpr int x_gates[] = {0, 1, 2}, h_gates[] = {0, 1, 2};

  // After the first product: s and, until the second, a_n and z.
  template <class T>
  static TT_INLINE void activate(const Vec<T>* a, const Step<T>& step, const Place& at) {
    Vec<T> r = sigmoid<T>(a[0]), z = sigmoid<T>(a[1]);
    store(step.spare + at.at, r * load(step.left + at.at));
    store(step.spare + step.slot + at.at, a[2]);
    store(step.spare + 2 * step.slot + at.at, z);
    if (step.kept) store(step.kept + at.at * KEPT, r);
  }

  // After the second.
  template <class T>
  static TT_INLINE void finish(Vec<T> a_n, const Step<T>& step, const Place& at) {
    Vec<T> before = load(step.h + at.at);
    if (carried(step, at)) return write_h<T>(step, at, before);
    Vec<T> n = tanh<T>(a_n), z = load(step.spare + 2 * step.slot + at.at);
    write_h<T>(step, at, n + z * (before - n));
    if (!step.kept) return;
    store(step.kept + at.at * KEPT + LANES<T>, z);
    store(step.kept + at.at * KEPT + 2 * LANES<T>, n);
  }

  template <class T, int M, int NB>
  static TT_INLINE void finish_tile(const Shape<T>& s, const T* w, const Step<T>& step, int64_t rows,
                                    int64_t row, int64_t block) {
    constexpr int L = LANES<T>;
    Vec<T> acc[M][NB];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
      for (int n = 0; n < NB; ++n)
        acc[m][n] = load(step.spare + step.slot + place(s, rows, block + n, row + m).at);
    multiply<T, M, NB, 1, 0, 1>(acc, step.spare + row * L, rows * L, w, s.H);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
      for (int n = 0; n < NB; ++n)
        finish<T>(acc[m][n], step, place(s, rows, block + n, row + m));
  }

  template <class T>
  static void step(const Shape<T>& s, const Packed<GruBeforeCell, T>& w, const Step<T>& step,
                   int64_t rows, int64_t in_use, const T* x, int64_t x_row) {
    forward_step<GruBeforeCell, T>(s, w, step, rows, in_use, x, x_row);
    for (int64_t j = 0, width; j < s.blocks; j += width) {
      width = least(SECOND_WIDTH, s.blocks - j);
      const T* weights = w.second + j * LANES<T> * s.H;
      for_row_tiles(in_use, [&](int64_t row, auto height) {
        constexpr int M = decltype(height)::value;
        if (width == 1) finish_tile<T, M, 1>(s, weights, step, rows, row, j);
        if (width == 2) finish_tile<T, M, 2>(s, weights, step, rows, row, j);
        if (width == 3) finish_tile<T, M, 3>(s, weights, step, rows, row, j);
        if (width == 4) finish_tile<T, M, 4>(s, weights, step, rows, row, j);
      });
    }
  }

  template <class T>
  static void row(const Problem& p, const Shape<T>& s, const Unit& u, const Step<T>& step, const T* x,
                  T* parts) {
    constexpr int64_t L = LANES<T>;
    forward_row<GruBeforeCell, T>(p, s, u, step, x, parts);
    T* a_n = step.spare + s.padded;
    const T* U_n = offset<T>(p.U, (u.e * GATES + 2) * s.H * s.H);
    for (int64_t j = 0; j < s.blocks; ++j) {
      int64_t height = least(L, s.H - j * L), beyond = (s.H - j * L - height) * s.H;
      const T* rows = U_n + j * L * s.H;
      store(a_n + j * L, load(a_n + j * L) + dots(rows, height, beyond, step.spare, s.H));
    }
    for (int64_t j = 0; j < s.blocks; ++j)
      finish<T>(load(a_n + j * L), step, place(s, 1, j, 0));
  }

  // Before the product with U_n: da_z and da_n; then, from ds, da_r.
  template <class T>
  static TT_INLINE void differentiate(const StepBack<T>& step, const Place& at) {
    Vec<T> da_z = {}, da_n = {};
    store(step.spare + at.at, Vec<T>{});
    if (!carried(step, at)) {
      const T* kept = step.kept + at.at * KEPT;
      Vec<T> z = load(kept + LANES<T>), n = load(kept + 2 * LANES<T>);
      Vec<T> dh = load(step.dh + at.at), before = load(step.h + at.at), z_dh = z * dh;
      da_z = z_dh * (before - n) * (T(1) - z);
      da_n = (dh - z_dh) * (T(1) - n * n);
      store(step.dh + at.at, z_dh);
    }
    write_da<T>(step, at, PARTS, 1, da_z);
    write_da<T>(step, at, PARTS, 2, da_n);
  }

  template <class T>
  static TT_INLINE void differentiate_s(const StepBack<T>& step, const Place& at) {
    Vec<T> da_r = {}, s = {};
    if (!carried(step, at)) {
      Vec<T> r = load(step.kept + at.at * KEPT), ds = load(step.spare + at.at);
      s = r * load(step.left + at.at);
      da_r = ds * s * (T(1) - r);
      store(step.to_left + at.at, load(step.to_left + at.at) + r * ds);
    }
    store(step.spare_step + at.at, s);
    write_da<T>(step, at, PARTS, 0, da_r);
  }

  template <class T>
  static void step_back(const Shape<T>& s, const PackedBack<T>& U_rz, const PackedBack<T>& U_n,
                        const StepBack<T>& step, int64_t rows, int64_t in_use) {
    for (int64_t j = 0; j < s.blocks; ++j)
      for (int64_t r = 0; r < in_use; ++r) differentiate<T>(step, place(s, rows, j, r));
    multiply_back<T, true>(U_n, rows, in_use, step.da + 2 * step.part, step.spare);
    for (int64_t j = 0; j < s.blocks; ++j)
      for (int64_t r = 0; r < rows; ++r)
        if (r < in_use) differentiate_s<T>(step, place(s, rows, j, r));
        else store(step.spare_step + place(s, rows, j, r).at, Vec<T>{});
    multiply_back<T, true>(U_rz, rows, in_use, step.da, step.to_left);
  }

  template <class T>
  static void add_dU(const Shape<T>& s, const Unit& u, int64_t n, const T* left, Rows left_at,
                     const T* da, Rows da_at, T* dU, const T* spare) {
    constexpr int64_t L = LANES<T>;
    Plain<GruBeforeCell>::add_dU<T>(s, u, n, left, left_at, da, da_at, dU, spare);
    int64_t part = u.rows * s.padded, panel = u.rows * L, slot = s.rows * s.padded;
    add_outer_all<T>(dU + 2 * s.padded * s.padded, s.padded, s.padded, s.blocks, n, u.rows,
                     da + 2 * part, da_at, panel, spare + slot, Rows{slot, L}, panel);
  }
};

}  // namespace TT_ISA
}  // namespace throughtime
