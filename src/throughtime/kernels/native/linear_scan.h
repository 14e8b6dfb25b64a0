// The recurrences whose gates read the input alone: one pass over what W x + b gave.
//
//   h_t = a_t * h_{t-1} + b_t         a_t and b_t from p_t = W x_t + b
//   dh_{t-1} = e_{t-1} + a_t * dh_t   dp_t from dh_t, h_{t-1} and p_t, of which the gates are made again
//
// A `Cell` (min_gru.h, min_lstm.h) does one step for a vector of units. Nothing is added up over rows
// or time, so that any split of the work gives the same numbers. `Problem::x` is p [T, E, B, PARTS H],
// `dx` its gradient, the residual all h_t once more. Zoneout and the mask as elsewhere.
//
// What a step needs of the one before is h_{t-1} of the same rows, which should still be in the
// cache: where the steps of one row are neighbours in memory a unit is a row, whose numbers are then
// read in one stream (rows side by side, a multiple of 4 KiB apart, would fight for the same lines of
// the cache); where the rows of one step are, a unit is as many as fit.

#pragma once

#include "flush.h"
#include "problem.h"
#include "team.h"
#include "vector.h"
#include "vmath.h"

#define TT_INLINED __attribute__((always_inline))

namespace throughtime {
namespace TT_ISA {

// What is shown of the candidate's argument: p itself, or the paper's positive function.
template <bool POSITIVE>
struct Candidate {
  template <class T>
  static TT_INLINE Vec<T> of(Vec<T> p) {
    if (!POSITIVE) return p;
    return p >= T(0) ? p + T(0.5) : sigmoid<T>(p);
  }

  template <class T>
  static TT_INLINE Vec<T> slope(Vec<T> p) {
    Vec<T> one = fill<T>(1);
    if (!POSITIVE) return one;
    Vec<T> s = sigmoid<T>(p);
    return p >= T(0) ? one : s * (one - s);
  }
};

template <class Cell, class T>
struct Pass {
  static constexpr int64_t L = LANES<T>;
  const Problem& p;
  bool time_first;  // the rows of a step are neighbours, rather than the steps of a row
  int64_t rows, per_member, units, workers;

  explicit Pass(const Problem& p) : p(p), time_first(p.x_at.t >= p.x_at.b) {
    constexpr int64_t in_cache = 4096, worth_a_thread = 1 << 15;  // states; states and steps
    int64_t parts = (p.threads + p.E - 1) / (p.E ? p.E : 1);
    rows = time_first ? least(in_cache / (p.H ? p.H : 1), (p.B + parts - 1) / parts) : 1;
    rows = rows < 1 ? 1 : rows;
    per_member = (p.B + rows - 1) / rows;
    units = p.E * per_member;
    workers = least(least(p.threads, units), 1 + p.T * p.E * p.B * p.H / worth_a_thread);
  }

  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

  template <class Address>
  static TT_INLINE Address* shifted(Address* base, int64_t by) {
    return base ? base + by : nullptr;
  }
  static const T* in(const void* base, int64_t by) {
    return shifted(static_cast<const T*>(base), by);
  }
  static T* out(void* base, int64_t by) { return shifted(static_cast<T*>(base), by); }

  // Where row b of member e lies at step t.
  static int64_t at(const Strides& strides, int64_t t, int64_t e, int64_t b) {
    return t * strides.t + e * strides.e + b * strides.b;
  }
  int64_t state(int64_t e, int64_t b) const { return (e * p.B + b) * p.H; }
  bool skipped(int64_t t, int64_t e, int64_t b) const {
    return p.mask && !static_cast<const uint8_t*>(p.mask)[at(p.mask_at, t, e, b)];
  }

  // Calls work(t, the step before it or -1, e, b) for the steps of a unit, forwards or back.
  template <class Work>
  TT_INLINE void walk(int64_t unit, bool back, Work work) const {
    int64_t e = unit / per_member, first = unit % per_member * rows, last = least(first + rows, p.B);
    for (int64_t i = 0; i < p.T; ++i) {
      int64_t q = back ? p.T - 1 - i : i, t = p.reversed ? p.T - 1 - q : q;
      int64_t before = q == 0 ? -1 : p.reversed ? t + 1 : t - 1;
      for (int64_t b = first; b < last; ++b) work(t, before, e, b);
    }
  }

  // Calls work(first unit, how many) for the hidden units of a row.
  template <class Work>
  TT_INLINE void across(Work work) const {
    int64_t c = 0;
    for (; c + L <= p.H; c += L) work(c, L);
    if (c < p.H) work(c, p.H - c);
  }

  static TT_INLINE Vec<T> get(const T* from, int64_t c, int64_t n) {
    return from ? load_part(from + c, n) : Vec<T>{};
  }
  static TT_INLINE void put(T* to, int64_t c, Vec<T> v, int64_t n) {
    if (to) store_part(to + c, v, n);
  }

  void forward(int64_t unit) const {
    walk(unit, false, [&](int64_t t, int64_t before, int64_t e, int64_t b) TT_INLINED {
      const T* parts = in(p.x, at(p.x_at, t, e, b));
      const T* past = before < 0 ? in(p.h_0, state(e, b)) : in(p.h, at(p.h_at, before, e, b));
      const T* zone = in(p.zone_h, at(p.zone_h_at, t, e, b));
      T *h = out(p.h, at(p.h_at, t, e, b)), *keep = out(p.residual, at(p.residual_at, t, e, b));
      T* end = (p.reversed ? t == 0 : t == p.T - 1) ? out(p.h_n, state(e, b)) : nullptr;
      bool skip = skipped(t, e, b);
      across([&](int64_t c, int64_t n) TT_INLINED {
        Vec<T> left = get(past, c, n), now = left;
        if (!skip) {
          Vec<T> a[Cell::PARTS];
#pragma GCC unroll 4
          for (int k = 0; k < Cell::PARTS; ++k) a[k] = load_part(parts + k * p.H + c, n);
          now = Cell::template step<T>(a, left);
          if (zone) now = now + get(zone, c, n) * (left - now);
        }
        put(h, c, now, n);
        put(keep, c, now, n);
        put(end, c, now, n);
      });
    });
  }

  void adjoint(int64_t unit) const {
    Flush flush;
    walk(unit, true, [&](int64_t t, int64_t before, int64_t e, int64_t b) TT_INLINED {
      bool newest = p.reversed ? t == 0 : t == p.T - 1, skip = skipped(t, e, b);
      const T* parts = in(p.x, at(p.x_at, t, e, b));
      const T* past = before < 0 ? in(p.h_0, state(e, b)) : in(p.residual, at(p.residual_at, before, e, b));
      const T* zone = in(p.zone_h, at(p.zone_h_at, t, e, b));
      const T* direct = in(p.d_h, at(p.d_h_at, t, e, b));
      T* carry = out(p.dh_0, state(e, b));
      const T* from = newest ? in(p.d_h_n, state(e, b)) : carry;
      T *dp = out(p.dx, at(p.dx_at, t, e, b));
      T* all = out(p.all_dh, ((t * p.E + e) * p.B + b) * p.H);
      across([&](int64_t c, int64_t n) TT_INLINED {
        Vec<T> dh = get(from, c, n) + get(direct, c, n), da[Cell::PARTS] = {};
        put(all, c, dh, n);
        if (!skip) {
          Vec<T> a[Cell::PARTS], k = get(zone, c, n);
#pragma GCC unroll 4
          for (int i = 0; i < Cell::PARTS; ++i) a[i] = load_part(parts + i * p.H + c, n);
          Vec<T> passing = k * dh;
          dh = passing + Cell::template step_back<T>(a, get(past, c, n), dh - passing, da);
        }
        put(carry, c, dh, n);
#pragma GCC unroll 4
        for (int i = 0; i < Cell::PARTS; ++i) put(dp, i * p.H + c, da[i], n);
      });
    });
  }

  template <void (Pass::*pass)(int64_t) const>
  void run() const {
    if (units == 0 || p.T == 0) return;
    share(workers, units,
          [](void* self, int64_t unit, int64_t) { (static_cast<Pass*>(self)->*pass)(unit); },
          const_cast<Pass*>(this));
  }
};

template <class Cell, class T>
void scan(const Problem& p) {
  using Here = Pass<Cell, T>;
  Here(p).template run<&Here::forward>();
}

template <class Cell, class T>
void scan_back(const Problem& p) {
  using Here = Pass<Cell, T>;
  Here(p).template run<&Here::adjoint>();
}

}  // namespace TT_ISA
}  // namespace throughtime

#undef TT_INLINED
