// The loops over time that all recurrences share.
//
// A `Cell` (rnn.h, lstm.h, gru.h) names its parts and does what is its own. Its pre-activations, for
// a block of LANES hidden units, are PARTS accumulators. The input reaches X of them from X_FIRST on,
// the state H of them from H_FIRST on; the part p of either comes from PyTorch's gate x_gates[p],
// h_gates[p]. In the adjoint the same parts hold the gradients of the pre-activations.
//
//   forward    for each t: acc = b + W x_t + U h_{t-1}, in registers;   Cell::activate
//   adjoint    for each t: Cell::differentiate;   dh_{t-1} += U' da_t;   dx_t = W' da_t
//              every few t, while they are in cache:   dU += da_t h_{t-1}';   dW += da_t x_t'
//
// A cell may need a SECOND product in a step, of the last part, with what the first one led to.
//
// Two things may happen around a step, whatever the cell. Dropout: U multiplies d * h_{t-1} in place
// of h_{t-1}, and U' da_t is multiplied by d. Zoneout: of the state that a step proposes, and of its
// gradient, a share passes the step by.
//
// A unit of work is a few rows of the batch, all the way through time: threads meet only to add up
// their dU, dW, db, one after the other in the order of the units.
//
// Residual of a unit, slots in the order of processing: h [T+1], c [T+1] (if CELL_STATE), kept [T],
// and with zoneout the proposed c [T] (or h, without CELL_STATE); each slot in panels
// [block][row][lane], for kept [block][row][KEPT][lane].

#pragma once

#include "flush.h"
#include "problem.h"
#include "product.h"
#include "team.h"
#include "vector.h"
#include "vmath.h"

namespace throughtime {
namespace TT_ISA {

constexpr int SECOND_WIDTH = 4;        // blocks in a tile of the second product
constexpr int64_t ROWS_AT_ONCE = 160;  // steps * rows between two additions to dU: fits the caches

template <class T>
struct Shape {
  static constexpr int64_t L = LANES<T>;
  int64_t T_, E, B, I, H;
  int64_t blocks, padded;  // of hidden units: H = 20 has 2 blocks of 16, padded to 32
  int64_t rows, per_member, units;
  bool zoned;

  explicit Shape(const Problem& p)
      : T_(p.T), E(p.E), B(p.B), I(p.I), H(p.H), blocks(ceiling(p.H, L)), padded(blocks * L),
        rows(rows_together(p)), per_member(ceiling(p.B, rows)), units(p.E * per_member),
        zoned(p.zone_h || p.zone_c) {}
};

// From the first row of a tensor to the last one.
template <class T>
int64_t extent(const Problem& p, const Strides& at, const Shape<T>& s) {
  if (p.starts) return at.b * (p.starts[s.T_] - 1);
  return at.t * (s.T_ - 1) + at.e * (s.E - 1) + at.b * (s.B - 1);
}

// Some rows of one member, and the steps in which any of them is there.
struct Unit {
  int64_t index, e, first, rows, steps;

  template <class T>
  Unit(const Problem& p, const Shape<T>& s, int64_t index)
      : index(index), e(index / s.per_member), first(index % s.per_member * s.rows),
        rows(least(s.rows, s.B - first)), steps(s.T_) {
    while (p.starts && p.starts[steps] - p.starts[steps - 1] <= first) --steps;
  }

  // The time of the q-th step that is processed.
  int64_t time(const Problem& p, int64_t q) const { return p.reversed ? steps - 1 - q : q; }

  // Where the unit's first row lies at a time.
  int64_t at(const Problem& p, const Strides& at, int64_t t) const {
    return p.starts ? (p.starts[t] + first) * at.b : unpacked_at(at, t);
  }
  int64_t unpacked_at(const Strides& at, int64_t t) const {
    return t * at.t + e * at.e + first * at.b;
  }

  // The rows of the batch that a packed step has.
  int64_t packed_rows(const Problem& p, int64_t t) const {
    return least(rows, p.starts[t + 1] - p.starts[t] - first);
  }
};

// Slots of a unit in the residual.
template <class Cell, class T>
struct Slots {
  int64_t slot, kept_slot;
  T *h, *c, *kept, *proposed;

  static int64_t of_row(const Shape<T>& s) {
    return s.padded * ((s.T_ + 1) * (1 + Cell::CELL_STATE) + s.T_ * (Cell::KEPT + s.zoned));
  }

  Slots(const Shape<T>& s, const Unit& u, T* residual)
      : slot(u.rows * s.padded), kept_slot(slot * Cell::KEPT) {
    h = residual + (u.e * s.B + u.first) * of_row(s);
    c = h + (s.T_ + 1) * slot;
    kept = Cell::CELL_STATE ? c + (s.T_ + 1) * slot : c;
    proposed = kept + s.T_ * kept_slot;
  }
};

// What one step reads and writes, for the rows of a unit.
template <class T>
struct Step {
  const T *h, *c;         // the states before, in panels
  T *h_next, *c_next;     // the states after
  T* kept;                // for the adjoint, or none
  T* out;                 // h_t where the caller wants it
  int64_t out_row;        // from one of its rows to the next
  const uint8_t* real;    // or none; 0: a row to be carried
  int64_t real_row;
  T* spare;       // Cell::SPARE slots
  int64_t slot;   // numbers in one
  const T* left;  // what U multiplies: h, or d * h
};

// Where one vector of a row lies.
struct Place {
  int64_t block, row, at;  // at: in a slot, in numbers
  int lanes;               // how many of them are hidden units, not padding
};

template <class T>
TT_INLINE Place place(const Shape<T>& s, int64_t rows, int64_t block, int64_t row) {
  constexpr int64_t L = LANES<T>;
  return {block, row, (block * rows + row) * L, (int)least(L, s.H - block * L)};
}

template <class T>
TT_INLINE bool carried(const Step<T>& step, const Place& at) {
  return step.real && !step.real[at.row * step.real_row];
}

// How many rows to compute: one more than the last that is not carried.
TT_INLINE int64_t rows_in_use(const Problem& p, const Unit& u, int64_t t, const uint8_t* real) {
  if (p.starts) return u.packed_rows(p, t);
  int64_t rows = u.rows;
  while (real && rows > 0 && !real[(rows - 1) * p.mask_at.b]) --rows;
  return rows;
}

// Write h_t to its slot and to the caller.
template <class T>
TT_INLINE void write_h(const Step<T>& step, const Place& at, Vec<T> h) {
  store(step.h_next + at.at, h);
  store_part<T>(step.out + at.row * step.out_row + at.block * LANES<T>, h, at.lanes);
}

// Call f(place) for every vector of the first rows of a slot.
template <class T, class F>
TT_INLINE void for_panels(const Shape<T>& s, int64_t rows, int64_t first, F f) {
  for (int64_t j = 0; j < s.blocks; ++j)
    for (int64_t r = 0; r < first; ++r) f(place(s, rows, j, r));
}

// to = d * h
template <class T>
void drop(const Shape<T>& s, int64_t rows, const T* d, const T* h, T* to) {
  for_panels(s, rows, rows,
             [&](const Place& at) { store(to + at.at, load(d + at.at) * load(h + at.at)); });
}

template <class T>
TT_INLINE void zero(T* to, int64_t count) {
  std::memset(to, 0, count * sizeof(T));
}

// Copy states [rows, H] (or none) into panels, and back.
template <class T>
void to_panels(const Shape<T>& s, int64_t rows, const T* from, T* to) {
  for (int64_t j = 0; j < s.blocks; ++j)
    for (int64_t r = 0; r < rows; ++r) {
      Place at = place(s, rows, j, r);
      store(to + at.at,
            from ? load_part(from + r * s.H + j * LANES<T>, at.lanes) : Vec<T>{});
    }
}
template <class T>
void from_panels(const Shape<T>& s, int64_t rows, const T* from, T* to) {
  if (!to) return;
  for (int64_t j = 0; j < s.blocks; ++j)
    for (int64_t r = 0; r < rows; ++r) {
      Place at = place(s, rows, j, r);
      store_part(to + r * s.H + j * LANES<T>, load(from + at.at), at.lanes);
    }
}

template <class T>
TT_INLINE const T* offset(const void* base, int64_t by) {
  return base ? static_cast<const T*>(base) + by : nullptr;
}
template <class T>
TT_INLINE T* offset(void* base, int64_t by) {
  return base ? static_cast<T*>(base) + by : nullptr;
}

// The bias of every part, [block][part][lane].
template <class Cell, class T>
void pack_bias(const Shape<T>& s, const T* b_ih, const T* b_hh, T* to) {
  constexpr int64_t L = LANES<T>;
  for (int64_t j = 0; j < s.blocks; ++j)
    for (int p = 0; p < Cell::PARTS; ++p) {
      Vec<T> b = {};
      int lanes = least(L, s.H - j * L);
      int x = p - Cell::X_FIRST, h = p - Cell::H_FIRST;
      if (b_ih && x >= 0 && x < Cell::X)
        b += load_part(b_ih + Cell::x_gates[x] * s.H + j * L, lanes);
      if (b_hh && h >= 0 && h < Cell::HP + Cell::SECOND)
        b += load_part(b_hh + Cell::h_gates[h] * s.H + j * L, lanes);
      store(to + (j * Cell::PARTS + p) * L, b);
    }
}

// As many threads as there may be and work is for; one, where it is done before another has started.
template <class Cell, class T>
int64_t workers_for(const Problem& p, const Shape<T>& s) {
  constexpr int64_t activation = 40, worth_a_thread = 4000000;  // in multiplications
  int64_t work = s.T_ * s.E * s.B * s.padded * Cell::PARTS * (s.H + s.I + activation);
  return work < worth_a_thread ? 1 : least(p.threads, s.units);
}

// ---- forward ---------------------------------------------------------------------------------

// Weights of one member, packed for `multiply`: for each tile of blocks, W then U.
template <class Cell, class T>
struct Packed {
  static constexpr int64_t L = LANES<T>;
  const Shape<T>& s;
  T *weights, *second, *bias;

  static int64_t size(const Shape<T>& s) {
    return s.padded * (Cell::X * s.I + (Cell::HP + Cell::SECOND) * s.H + Cell::PARTS);
  }
  Packed(const Shape<T>& s, T* to)
      : s(s), weights(to), second(to + s.padded * (Cell::X * s.I + Cell::HP * s.H)),
        bias(second + s.padded * Cell::SECOND * s.H) {}

  T* x(int64_t block) const { return weights + block * L * (Cell::X * s.I + Cell::HP * s.H); }
  T* h(int64_t block, int64_t width) const { return x(block) + width * L * Cell::X * s.I; }

  void pack(const Problem& p, int64_t e) {
    const T* W = offset<T>(p.W, e * Cell::GATES * s.H * s.I);
    const T* U = offset<T>(p.U, e * Cell::GATES * s.H * s.H);
    for (int64_t j = 0, width; j < s.blocks; j += width) {
      width = least(Cell::WIDTH, s.blocks - j);
      for (int64_t n = 0; n < width; ++n) {
        for (int g = 0; g < Cell::X; ++g)
          pack_transposed<T>(x(j), width * Cell::X, n * Cell::X + g, W, Cell::x_gates[g], j + n, s.H,
                             s.I);
        for (int g = 0; g < Cell::HP; ++g)
          pack_transposed<T>(h(j, width), width * Cell::HP, n * Cell::HP + g, U, Cell::h_gates[g],
                             j + n, s.H, s.H);
      }
    }
    for (int64_t j = 0, width; Cell::SECOND && j < s.blocks; j += width) {
      width = least(SECOND_WIDTH, s.blocks - j);
      for (int64_t n = 0; n < width; ++n)
        pack_transposed<T>(second + j * L * s.H, width, n, U, Cell::h_gates[Cell::HP], j + n, s.H, s.H);
    }
    pack_bias<Cell, T>(s, offset<T>(p.b_ih, e * Cell::GATES * s.H),
                       offset<T>(p.b_hh, e * Cell::GATES * s.H), bias);
  }
};

// One tile: M rows of NB blocks of hidden units.
template <class Cell, class T, int M, int NB>
TT_INLINE void forward_tile(const Shape<T>& s, const Packed<Cell, T>& w, const Step<T>& step,
                            int64_t rows, int64_t row, int64_t block, const T* x, int64_t x_row) {
  constexpr int L = LANES<T>, P = Cell::PARTS;
  Vec<T> acc[M][NB * P];
#pragma GCC unroll 16
  for (int n = 0; n < NB * P; ++n) {
    Vec<T> b = load(w.bias + (block * P + n) * L);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) acc[m][n] = b;
  }
  multiply_some<T, M, NB, P, Cell::X_FIRST, Cell::X>(acc, x + row * x_row, x_row, w.x(block), s.I);
  multiply<T, M, NB, P, Cell::H_FIRST, Cell::HP>(acc, step.left + row * L, rows * L, w.h(block, NB), s.H);
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int n = 0; n < NB; ++n)
      Cell::template activate<T>(&acc[m][n * P], step, place(s, rows, block + n, row + m));
}

template <class Cell, class T>
void forward_step(const Shape<T>& s, const Packed<Cell, T>& w, const Step<T>& step, int64_t rows,
                  int64_t in_use, const T* x, int64_t x_row) {
  for (int64_t j = 0, width; j < s.blocks; j += width) {
    width = least(Cell::WIDTH, s.blocks - j);
    for_row_tiles(in_use, [&](int64_t row, auto height) {
      constexpr int M = decltype(height)::value;
      if (width == 1) forward_tile<Cell, T, M, 1>(s, w, step, rows, row, j, x, x_row);
      if constexpr (Cell::WIDTH >= 2)
        if (width == 2) forward_tile<Cell, T, M, 2>(s, w, step, rows, row, j, x, x_row);
      if constexpr (Cell::WIDTH >= 3)
        if (width == 3) forward_tile<Cell, T, M, 3>(s, w, step, rows, row, j, x, x_row);
      if constexpr (Cell::WIDTH >= 4)
        if (width == 4) forward_tile<Cell, T, M, 4>(s, w, step, rows, row, j, x, x_row);
    });
  }
}

// Add the products of a gate's rows with a to a part of [block][part][lane]; gates follow each other.
template <class Cell, class T>
void add_dots(const Shape<T>& s, const T* W, int gate, const T* a, int64_t K, T* parts) {
  constexpr int64_t L = LANES<T>;
  const T* w = W + gate * s.H * K;
  for (int64_t j = 0; j < s.blocks; ++j, w += L * K, parts += Cell::PARTS * L) {
    int64_t height = least(L, s.H - j * L);
    int64_t beyond = ((Cell::GATES - gate) * s.H - j * L - height) * K;
    store(parts, load(parts) + dots(w, height, beyond, a, K));
  }
}

// The pre-activations of one row, with the weights as they are: [block][part][lane].
template <class Cell, class T>
void sum_parts(const Problem& p, const Shape<T>& s, const Unit& u, const T* h, const T* x, T* parts) {
  pack_bias<Cell, T>(s, offset<T>(p.b_ih, u.e * Cell::GATES * s.H),
                     offset<T>(p.b_hh, u.e * Cell::GATES * s.H), parts);
  for (int g = 0; g < Cell::X; ++g)
    add_dots<Cell, T>(s, offset<T>(p.W, u.e * Cell::GATES * s.H * s.I), Cell::x_gates[g], x, s.I,
                      parts + (Cell::X_FIRST + g) * LANES<T>);
  for (int g = 0; g < Cell::HP; ++g)
    add_dots<Cell, T>(s, offset<T>(p.U, u.e * Cell::GATES * s.H * s.H), Cell::h_gates[g], h, s.H,
                      parts + (Cell::H_FIRST + g) * LANES<T>);
}

template <class Cell, class T>
void forward_row(const Problem& p, const Shape<T>& s, const Unit& u, const Step<T>& step, const T* x,
                 T* parts) {
  sum_parts<Cell, T>(p, s, u, step.left, x, parts);
  for (int64_t j = 0; j < s.blocks; ++j) {
    Vec<T> acc[Cell::PARTS];
    for (int g = 0; g < Cell::PARTS; ++g) acc[g] = load(parts + (j * Cell::PARTS + g) * LANES<T>);
    Cell::template activate<T>(acc, step, place(s, 1, j, 0));
  }
}

// Of the state that a step proposed, keep it for the adjoint (if asked to), and mix it with the one
// before (if there is zoneout); `changed` is called with what came of it.
template <class T, class F>
void mix(const Shape<T>& s, const Step<T>& step, int64_t rows, int64_t in_use, const T* zone,
         int64_t zone_row, const T* before, const T* after, T* proposed, F changed) {
  for_panels(s, rows, in_use, [&](const Place& at) {
    if (carried(step, at)) return;
    Vec<T> v = load(after + at.at);
    if (proposed) store(proposed + at.at, v);
    if (!zone) return;
    Vec<T> z = load_part(zone + at.row * zone_row + at.block * LANES<T>, at.lanes);
    changed(at, z * load(before + at.at) + (T(1) - z) * v);
  });
}

// The rows of a step that nobody computes: their states are carried; what is packed ends before.
template <class Cell, class T>
void carry_rows(const Shape<T>& s, const Step<T>& step, int64_t rows, int64_t from, bool is_packed) {
  for (int64_t j = 0; j < s.blocks; ++j)
    for (int64_t r = from; r < rows; ++r) {
      Place at = place(s, rows, j, r);
      Vec<T> h = load(step.h + at.at);
      if (is_packed) store(step.h_next + at.at, h);
      else write_h(step, at, h);
      if (Cell::CELL_STATE) store(step.c_next + at.at, load(step.c + at.at));
    }
}

template <class Cell, class T>
struct Forward {
  const Problem& p;
  const Shape<T> s;
  const bool packed;  // else too little to do for packing to pay
  T *weights, *scratch;
  int64_t per_worker;

  explicit Forward(const Problem& p)
      : p(p), s(p), packed(s.rows > 1 || s.B * s.T_ > 4), weights(nullptr), scratch(nullptr),
        per_worker(Cell::PARTS * s.padded +
                   (4 + Cell::SPARE + (p.dropout ? 2 : 0)) * s.rows * s.padded) {}

  void unit(int64_t index, int64_t worker) {
    Unit u(p, s, index);
    T* own = scratch + worker * per_worker;
    T* parts = own + 4 * s.rows * s.padded;
    Slots<Cell, T> slots(s, u, static_cast<T*>(p.residual));
    bool keep = p.residual != nullptr;
    if (!keep) slots.h = own, slots.c = own + 2 * slots.slot;
    Packed<Cell, T> w(s, weights + (packed ? u.e * Packed<Cell, T>::size(s) : 0));
    int64_t first = (u.e * s.B + u.first) * s.H;
    to_panels(s, u.rows, offset<T>(p.h_0, first), slots.h);
    if (Cell::CELL_STATE) to_panels(s, u.rows, offset<T>(p.c_0, first), slots.c);
    T *spare = parts + Cell::PARTS * s.padded, *d = spare + Cell::SPARE * s.rows * s.padded;
    T* left = d + s.rows * s.padded;
    if (p.dropout) to_panels(s, u.rows, offset<T>(p.dropout, first), d);
    int64_t last = 0;
    for (int64_t q = 0; q < u.steps; ++q) {
      int64_t t = u.time(p, q), now = keep ? q : q & 1, next = keep ? q + 1 : 1 - now;
      const T* x = offset<T>(p.x, u.at(p, p.x_at, t));
      Step<T> step{slots.h + now * slots.slot, slots.c + now * slots.slot,
                   slots.h + next * slots.slot, slots.c + next * slots.slot,
                   keep ? slots.kept + q * slots.kept_slot : nullptr,
                   offset<T>(p.h, u.at(p, p.h_at, t)), p.h_at.b,
                   offset<uint8_t>(p.mask, u.at(p, p.mask_at, t)), p.mask_at.b,
                   spare, slots.slot, slots.h + now * slots.slot};
      if (p.dropout) {
        drop(s, u.rows, d, step.h, left);
        step.left = left;
      }
      int64_t in_use = rows_in_use(p, u, t, step.real);
      if (in_use < u.rows) carry_rows<Cell, T>(s, step, u.rows, in_use, p.starts != nullptr);
      if (in_use > 0) {
        if (packed) Cell::template step<T>(s, w, step, u.rows, in_use, x, p.x_at.b);
        else Cell::template row<T>(p, s, u, step, x, parts);
      }
      if (s.zoned) zone_out(u, step, t, in_use, keep ? slots.proposed + q * slots.slot : nullptr);
      last = next;
    }
    from_panels(s, u.rows, slots.h + last * slots.slot, offset<T>(p.h_n, first));
    if (Cell::CELL_STATE) from_panels(s, u.rows, slots.c + last * slots.slot, offset<T>(p.c_n, first));
  }

  void zone_out(const Unit& u, const Step<T>& step, int64_t t, int64_t in_use, T* proposed) const {
    mix(s, step, u.rows, in_use, offset<T>(p.zone_h, u.unpacked_at(p.zone_h_at, t)), p.zone_h_at.b,
        step.h, step.h_next, Cell::CELL_STATE ? nullptr : proposed,
        [&](const Place& at, Vec<T> h) { write_h<T>(step, at, h); });
    if (Cell::CELL_STATE)
      mix(s, step, u.rows, in_use, offset<T>(p.zone_c, u.unpacked_at(p.zone_c_at, t)),
          p.zone_c_at.b, step.c, step.c_next, proposed,
          [&](const Place& at, Vec<T> c) { store(step.c_next + at.at, c); });
  }

  void run() {
    if (s.units == 0) return;
    int64_t workers = workers_for<Cell>(p, s);
    int64_t packed_size = packed ? s.E * Packed<Cell, T>::size(s) : 0;
    expect_writes(p.residual, s.E * s.B * Slots<Cell, T>::of_row(s) * sizeof(T));
    expect_writes(p.h, (extent(p, p.h_at, s) + s.H) * sizeof(T));
    Scratch memory((packed_size + workers * per_worker) * sizeof(T));
    weights = reinterpret_cast<T*>(memory.data());
    scratch = weights + packed_size;
    if (packed)
      for (int64_t e = 0; e < s.E; ++e)
        Packed<Cell, T>(s, weights + e * Packed<Cell, T>::size(s)).pack(p, e);
    share(workers, s.units,
          [](void* self, int64_t index, int64_t worker) {
            static_cast<Forward*>(self)->unit(index, worker);
          },
          this);
  }
};

template <class Cell, class T>
void forward(const Problem& p) {
  Forward<Cell, T>(p).run();
}

// ---- adjoint ---------------------------------------------------------------------------------

// What one step back reads and writes, for the rows of a unit.
template <class T>
struct StepBack {
  const T *h, *h_next, *c, *c_next, *kept;  // as in `Step`
  T *dh, *dc;                               // in: gradients of h_t, c_t; out: what is carried to t-1
  T* da;                                    // out: [part][block][row][lane]
  T* db;                                    // sums of da: [block][part][lane]
  int64_t part;                             // from one part of da to the next
  const uint8_t* real;
  int64_t real_row;
  T *spare, *spare_step;  // one panel; Cell::SPARE_BACK panels of this step, until dU is added to
  const T* left;          // what U multiplied
  T* to_left;             // what its gradient is added to: dh, or zeros, to be multiplied by d
};

template <class T>
TT_INLINE bool carried(const StepBack<T>& step, const Place& at) {
  return step.real && !step.real[at.row * step.real_row];
}

template <class T>
TT_INLINE void write_da(const StepBack<T>& step, const Place& at, int parts, int part, Vec<T> da) {
  store(step.da + part * step.part + at.at, da);
  T* sum = step.db + (at.block * parts + part) * LANES<T>;
  store(sum, load(sum) + da);
}

constexpr int BACK_WIDTH = 4;  // panels of dh or dx in one tile

// Weights [K rows, N columns] packed for dh += da U: tiles of panels, each [k][panel][lane].
template <class T>
struct PackedBack {
  static constexpr int64_t L = LANES<T>;
  T* weights;
  int64_t depth, panels;  // rows (parts * padded); panels of columns

  static int64_t size(int64_t depth, int64_t N) { return depth * ceiling(N, L) * L; }
  PackedBack(T* weights, int64_t depth, int64_t N)
      : weights(weights), depth(depth), panels(ceiling(N, L)) {}

  void pack(const Shape<T>& s, const T* U, int64_t N, const int* gates, int parts) {
    for (int64_t j = 0, width; j < panels; j += width) {
      width = least(BACK_WIDTH, panels - j);
      for (int g = 0; g < parts; ++g)
        pack_plain<T>(weights + (j * depth + g * s.padded * width) * L, width, U, gates[g] * s.H, s.H,
                      s.padded, j, N);
    }
  }
};

// to[row][n] (+)= sum_k da[row][k] w[k][n], for a tile; `to` in panels, or rows of a tensor.
template <class T, int M, int NB, bool PANELS>
TT_INLINE void back_tile(const PackedBack<T>& w, int64_t rows, int64_t row, int64_t j, const T* da,
                         T* to, int64_t to_row, int64_t N) {
  constexpr int64_t L = LANES<T>;
  Vec<T> acc[M][NB];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int n = 0; n < NB; ++n)
      acc[m][n] = PANELS ? load(to + ((j + n) * rows + row + m) * L) : Vec<T>{};
  multiply<T, M, NB, 1, 0, 1>(acc, da + row * L, rows * L, w.weights + j * w.depth * L, w.depth);
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int n = 0; n < NB; ++n) {
      if (PANELS) store(to + ((j + n) * rows + row + m) * L, acc[m][n]);
      else store_part<T>(to + (row + m) * to_row + (j + n) * L, acc[m][n], least(L, N - (j + n) * L));
    }
}

template <class T, bool PANELS>
void multiply_back(const PackedBack<T>& w, int64_t rows, int64_t in_use, const T* da, T* to,
                   int64_t to_row = 0, int64_t N = 0) {
  for (int64_t j = 0, width; j < w.panels; j += width) {
    width = least(BACK_WIDTH, w.panels - j);
    for_row_tiles(in_use, [&](int64_t row, auto height) {
      constexpr int M = decltype(height)::value;
      if (width == 1) back_tile<T, M, 1, PANELS>(w, rows, row, j, da, to, to_row, N);
      if (width == 2) back_tile<T, M, 2, PANELS>(w, rows, row, j, da, to, to_row, N);
      if (width == 3) back_tile<T, M, 3, PANELS>(w, rows, row, j, da, to, to_row, N);
      if (width == 4) back_tile<T, M, 4, PANELS>(w, rows, row, j, da, to, to_row, N);
    });
  }
}

// Limit the norm of every row of the gradient of the state (h_t, c_t); a row that is carried has none.
template <class T>
void clip_rows(const Shape<T>& s, const StepBack<T>& step, int64_t rows, int64_t in_use, T limit,
               T* dh, T* dc) {
  for (int64_t r = 0; r < in_use; ++r) {
    if (step.real && !step.real[r * step.real_row]) continue;
    Vec<T> squares = {};
    for (int64_t j = 0; j < s.blocks; ++j) {
      Vec<T> h = load(dh + (j * rows + r) * LANES<T>);
      squares += h * h;
      if (!dc) continue;
      Vec<T> c = load(dc + (j * rows + r) * LANES<T>);
      squares += c * c;
    }
    T norm = __builtin_sqrt(sum<T>(squares));
    if (!(norm > limit)) continue;
    T factor = limit / norm;
    for (int64_t j = 0; j < s.blocks; ++j) {
      T* h = dh + (j * rows + r) * LANES<T>;
      store(h, load(h) * factor);
      if (!dc) continue;
      T* c = dc + (j * rows + r) * LANES<T>;
      store(c, load(c) * factor);
    }
  }
}

// Take the share of a gradient that passes a step by.
template <class T>
void part(const Shape<T>& s, const StepBack<T>& step, int64_t rows, int64_t in_use, const T* zone,
          int64_t zone_row, T* d, T* past) {
  for_panels(s, rows, in_use, [&](const Place& at) {
    Vec<T> share = {}, total = load(d + at.at);
    if (!carried(step, at))
      share = load_part(zone + at.row * zone_row + at.block * LANES<T>, at.lanes) * total;
    store(past + at.at, share);
    store(d + at.at, total - share);
  });
}

// d += a * b, or d += a
template <class T>
void add_panels(const Shape<T>& s, int64_t rows, int64_t in_use, const T* a, const T* b, T* d) {
  for_panels(s, rows, in_use, [&](const Place& at) {
    Vec<T> v = load(a + at.at);
    store(d + at.at, load(d + at.at) + (b ? v * load(b + at.at) : v));
  });
}

template <class T>
void write_norms(const Shape<T>& s, int64_t rows, const T* d, T* to) {
  for (int64_t r = 0; r < rows; ++r) {
    Vec<T> squares = {};
    for (int64_t j = 0; j < s.blocks; ++j) {
      Vec<T> v = load(d + (j * rows + r) * LANES<T>);
      squares += v * v;
    }
    to[r] = __builtin_sqrt(sum<T>(squares));
  }
}

template <class Cell, class T>
struct Adjoint {
  static constexpr int64_t L = LANES<T>;
  const Problem& p;
  const Shape<T> s;
  T *U_packed, *W_packed, *scratch;
  int64_t U_size, W_size, per_worker;
  int64_t steps, da_slot, dU_size, dW_size, db_size, x_size;  // steps: of one addition to dU
  Turn turn;

  explicit Adjoint(const Problem& p) : p(p), s(p) {
    U_size = PackedBack<T>::size((Cell::HP + Cell::SECOND) * s.padded, s.H);
    W_size = p.dx ? PackedBack<T>::size(Cell::X * s.padded, s.I) : 0;
    steps = least(s.T_, ceiling(ROWS_AT_ONCE, s.rows));
    da_slot = Cell::PARTS * s.rows * s.padded + L;  // never a multiple of 4 KiB
    dU_size = p.dU ? (Cell::HP + Cell::SECOND) * s.padded * s.padded : 0;
    dW_size = p.dW ? s.I * Cell::X * s.padded : 0;
    db_size = Cell::PARTS * s.padded;
    x_size = p.dW && (p.mask || p.starts) ? steps * s.rows * s.I : 0;
    int64_t around = (p.dropout ? 2 + steps : 0) + (s.zoned ? 2 : 0);
    per_worker = dU_size + dW_size + db_size + steps * da_slot + x_size +
                 (3 + steps * Cell::SPARE_BACK + around) * s.rows * s.padded;
  }

  // What dropout and zoneout need beside, a panel each.
  struct Around {
    T *d, *to_left, *left;  // d and the gradient of d * h; d * h of the steps till dU is added to
    T *past_h, *past_c;     // what passes a step by
  };

  PackedBack<T> second(int64_t e) const {
    int64_t first = PackedBack<T>::size(Cell::HP * s.padded, s.H);
    return PackedBack<T>(U_packed + e * U_size + first, Cell::SECOND * s.padded, s.H);
  }

  // Add what a unit found to the results, in PyTorch's order; the first unit of a member sets them.
  void add(const Unit& u, const T* dU, const T* dW, const T* db) {
    bool sets = u.first == 0;
    auto put = [&](T* to, T value) { *to = sets ? value : *to + value; };
    auto put_row = [&](T* to, const T* from, int64_t n) {
      for (int64_t i = 0; i < n; i += L) {
        Vec<T> v = load(from + i);
        if (!sets) v += load_part(to + i, least(L, n - i));
        store_part(to + i, v, least(L, n - i));
      }
    };
    if (p.dU)
      for (int g = 0; g < Cell::HP + Cell::SECOND; ++g)
        for (int64_t i = 0; i < s.H; ++i)
          put_row(offset<T>(p.dU, ((u.e * Cell::GATES + Cell::h_gates[g]) * s.H + i) * s.H),
                  dU + (g * s.padded + i) * s.padded, s.H);
    if (p.dW)
      for (int g = 0; g < Cell::X; ++g)
        for (int64_t j = 0; j < s.H; ++j)
          for (int64_t i = 0; i < s.I; ++i)
            put(offset<T>(p.dW, ((u.e * Cell::GATES + Cell::x_gates[g]) * s.H + j) * s.I + i),
                dW[(i * Cell::X + g) * s.padded + j]);
    auto put_bias = [&](void* to, int first, int parts, const int* gates) {
      for (int g = 0; to && g < parts; ++g)
        for (int64_t j = 0; j < s.H; ++j)
          put(offset<T>(to, (u.e * Cell::GATES + gates[g]) * s.H + j),
              db[(j / L * Cell::PARTS + first + g) * L + j % L]);
    };
    put_bias(p.db_ih, Cell::X_FIRST, Cell::X, Cell::x_gates);
    put_bias(p.db_hh, Cell::H_FIRST, Cell::HP + Cell::SECOND, Cell::h_gates);
  }

  void unit(int64_t index, int64_t worker) {
    Unit u(p, s, index);
    T* dU = scratch + worker * per_worker;
    T *dW = dU + dU_size, *db = dW + dW_size, *dh = db + db_size, *dc = dh + u.rows * s.padded;
    T *da = db + db_size + 2 * s.rows * s.padded, *spare = da + steps * da_slot;
    int64_t slot = s.rows * s.padded;
    T *next = spare + (1 + steps * Cell::SPARE_BACK) * slot, *x_kept = x_size ? next : nullptr;
    next += x_size;
    Around around{next, next + slot, next + 2 * slot, nullptr, nullptr};
    if (p.dropout) next += (2 + steps) * slot;
    around.past_h = next, around.past_c = next + slot;
    Slots<Cell, T> slots(s, u, static_cast<T*>(p.residual));
    zero(dU, dU_size + dW_size + db_size);
    int64_t first = (u.e * s.B + u.first) * s.H;
    to_panels(s, u.rows, offset<T>(p.d_h_n, first), dh);
    to_panels(s, u.rows, Cell::CELL_STATE ? offset<T>(p.d_c_n, first) : nullptr, dc);
    if (p.dropout) to_panels(s, u.rows, offset<T>(p.dropout, first), around.d);
    PackedBack<T> U(U_packed + u.e * U_size, Cell::HP * s.padded, s.H), U_second = second(u.e);
    PackedBack<T> W(W_packed + u.e * W_size, Cell::X * s.padded, s.I);
    for (int64_t q = u.steps; q > 0;) {
      int64_t n = least(steps, q);
      for (int64_t i = 0; i < n; ++i)
        step(u, slots, U, U_second, W, q - 1 - i, dh, dc, da + i * da_slot, db, spare, x_kept, i,
             around);
      q -= n;
      add_products(u, slots, q, n, da, dU, dW, spare, x_kept, around);
    }
    from_panels(s, u.rows, dh, offset<T>(p.dh_0, first));
    if (Cell::CELL_STATE) from_panels(s, u.rows, dc, offset<T>(p.dc_0, first));
    turn.await(u.index);
    add(u, dU, dW, db);
    turn.pass();
  }

  // Step q of the processing, back; its da is the i-th since the last addition to dU.
  TT_INLINE void step(const Unit& u, const Slots<Cell, T>& slots, const PackedBack<T>& U,
            const PackedBack<T>& U_second, const PackedBack<T>& W, int64_t q, T* dh, T* dc, T* da, T* db, T* spare, T* x_kept,
            int64_t i, const Around& around) {
    int64_t t = u.time(p, q);
    const uint8_t* real = offset<uint8_t>(p.mask, u.at(p, p.mask_at, t));
    int64_t there = p.starts ? u.packed_rows(p, t) : u.rows, in_use = rows_in_use(p, u, t, real);
    if (p.d_h) {
      const T* e = offset<T>(p.d_h, u.at(p, p.d_h_at, t));
      for (int64_t j = 0; j < s.blocks; ++j)
        for (int64_t r = 0; r < there; ++r) {
          Place at = place(s, u.rows, j, r);
          store(dh + at.at, load(dh + at.at) + load_part(e + r * p.d_h_at.b + j * L, at.lanes));
        }
    }
    StepBack<T> back{slots.h + q * slots.slot, slots.h + (q + 1) * slots.slot,
                     slots.c + q * slots.slot, slots.c + (q + 1) * slots.slot,
                     slots.kept + q * slots.kept_slot, dh, dc, da, db, u.rows * s.padded, real,
                     p.mask_at.b, spare, spare + (1 + i * Cell::SPARE_BACK) * s.rows * s.padded,
                     slots.h + q * slots.slot, dh};
    if (p.clip > 0) clip_rows<T>(s, back, u.rows, in_use, p.clip, dh, Cell::CELL_STATE ? dc : nullptr);
    int64_t states = ((t * s.E + u.e) * s.B + u.first);
    if (p.all_dh) from_panels(s, u.rows, dh, offset<T>(p.all_dh, states * s.H));
    if (p.all_dc) from_panels(s, u.rows, dc, offset<T>(p.all_dc, states * s.H));
    if (p.norm_dh) write_norms(s, u.rows, dh, offset<T>(p.norm_dh, states));
    if (p.norm_dc) write_norms(s, u.rows, dc, offset<T>(p.norm_dc, states));
    if (in_use < u.rows)  // nothing of theirs reaches the sums
      for (int64_t panel = 0; panel < Cell::PARTS * s.blocks; ++panel)
        zero(da + (panel * u.rows + in_use) * L, (u.rows - in_use) * L);
    if (p.dropout) {
      drop(s, u.rows, around.d, back.h, around.left + i * slots.slot);
      zero(around.to_left, slots.slot);
      back.left = around.left + i * slots.slot, back.to_left = around.to_left;
    }
    if (s.zoned) (Cell::CELL_STATE ? back.c_next : back.h_next) = slots.proposed + q * slots.slot;
    auto take = [&](const void* zone, const Strides& at, T* d, T* past) {
      if (zone) part(s, back, u.rows, in_use, offset<T>(zone, u.unpacked_at(at, t)), at.b, d, past);
    };
    take(p.zone_h, p.zone_h_at, dh, around.past_h);
    take(p.zone_c, p.zone_c_at, dc, around.past_c);
    Cell::template step_back<T>(s, U, U_second, back, u.rows, in_use);
    if (p.dropout) add_panels<T>(s, u.rows, in_use, around.to_left, around.d, dh);
    if (p.zone_h) add_panels<T>(s, u.rows, in_use, around.past_h, nullptr, dh);
    if (p.zone_c) add_panels<T>(s, u.rows, in_use, around.past_c, nullptr, dc);
    if (p.dx)
      multiply_back<T, false>(W, u.rows, there, da + Cell::X_FIRST * back.part,
                              offset<T>(p.dx, u.at(p, p.dx_at, t)), p.dx_at.b, s.I);
    if (x_kept) keep_x(u, t, in_use, real, x_kept + i * u.rows * s.I);
  }

  // Copy x of a step, with zeros for the rows that are carried: padding may be NaN, and 0 * NaN is not 0.
  void keep_x(const Unit& u, int64_t t, int64_t in_use, const uint8_t* real, T* to) {
    const T* x = offset<T>(p.x, u.at(p, p.x_at, t));
    for (int64_t r = 0; r < u.rows; ++r)
      for (int64_t i = 0; i < s.I; ++i) {
        bool there = r < in_use && (!real || real[r * p.mask_at.b]);
        to[r * s.I + i] = there ? x[r * p.x_at.b + i] : T(0);
      }
  }

  // Call add(from, to) for all blocks of columns of dU. A single unit leaves threads without work:
  // then they take some columns each, whose sums are the same whoever makes them.
  template <class F>
  void by_columns(int64_t depth, F add) {
    constexpr int64_t worth_a_thread = 8000000;  // multiplications
    int64_t work = depth * (Cell::HP + Cell::SECOND) * s.padded * s.padded;
    int64_t parts = s.units > 1 ? 1 : least(least(p.threads, s.blocks), work / worth_a_thread);
    if (parts <= 1) return add(0, s.blocks);
    struct Columns {
      F& add;
      int64_t parts, blocks;
    } columns{add, parts, s.blocks};
    share(parts, parts,
          [](void* context, int64_t part, int64_t) {
            auto& c = *static_cast<Columns*>(context);
            c.add(c.blocks * part / c.parts, c.blocks * (part + 1) / c.parts);
          },
          &columns);
  }

  // dU += da h', dW += da x' for the n steps from q on, whose da lie in reverse.
  void add_products(const Unit& u, const Slots<Cell, T>& slots, int64_t q, int64_t n, const T* da, T* dU,
                    T* dW, const T* spare, const T* x_kept, const Around& around) {
    int64_t part = u.rows * s.padded, panel = u.rows * L;
    Rows da_at{da_slot, L}, left_at{p.dropout ? slots.slot : -slots.slot, L};
    const T* left = p.dropout ? around.left : slots.h + (q + n - 1) * slots.slot;
    if (p.dU)
      by_columns(n * u.rows, [&](int64_t from, int64_t to) {
        Shape<T> columns = s;
        columns.blocks = to - from;
        Cell::template add_dU<T>(columns, u, n, left + from * panel, left_at, da, da_at, dU + from * L,
                                 spare + from * panel);
      });
    if (p.dW) {
      const T* x = x_kept ? x_kept : offset<T>(p.x, u.at(p, p.x_at, u.time(p, q + n - 1)));
      Rows x_at{p.reversed ? p.x_at.t : -p.x_at.t, p.x_at.b};
      if (x_kept) x_at = {u.rows * s.I, s.I};
      add_outer_all<T>(dW, Cell::X * s.padded, s.I, Cell::X * s.blocks, n, u.rows, x, x_at, L,
                       da + Cell::X_FIRST * part, da_at, panel);
    }
  }

  // Without any rows the sums are zero.
  void clear() {
    auto clear = [](void* to, int64_t count) {
      if (to) zero(static_cast<T*>(to), count);
    };
    int64_t G = s.E * Cell::GATES * s.H;
    clear(p.dU, G * s.H), clear(p.dW, G * s.I), clear(p.db_ih, G), clear(p.db_hh, G);
  }

  void run() {
    if (s.units == 0) return clear();
    int64_t workers = workers_for<Cell>(p, s);
    expect_writes(p.dx, p.dx ? (extent(p, p.dx_at, s) + s.I) * sizeof(T) : 0);
    Scratch memory((s.E * (U_size + W_size) + workers * per_worker) * sizeof(T));
    U_packed = reinterpret_cast<T*>(memory.data());
    W_packed = U_packed + s.E * U_size;
    scratch = W_packed + s.E * W_size;
    for (int64_t e = 0; e < s.E; ++e) {
      const T* U = offset<T>(p.U, e * Cell::GATES * s.H * s.H);
      PackedBack<T>(U_packed + e * U_size, Cell::HP * s.padded, s.H)
          .pack(s, U, s.H, Cell::h_gates, Cell::HP);
      if (Cell::SECOND) second(e).pack(s, U, s.H, Cell::h_gates + Cell::HP, Cell::SECOND);
      if (!p.dx) continue;
      const T* W = offset<T>(p.W, e * Cell::GATES * s.H * s.I);
      PackedBack<T>(W_packed + e * W_size, Cell::X * s.padded, s.I)
          .pack(s, W, s.I, Cell::x_gates, Cell::X);
    }
    share(workers, s.units,
          [](void* self, int64_t index, int64_t worker) {
            Flush flush;  // gradients vanish
            static_cast<Adjoint*>(self)->unit(index, worker);
          },
          this);
  }
};

template <class Cell, class T>
void adjoint(const Problem& p) {
  Adjoint<Cell, T>(p).run();
}

// What most cells do with a step.
template <class Cell>
struct Plain {
  static constexpr int SECOND = 0, SPARE = 0, SPARE_BACK = 0;

  template <class T>
  static void step(const Shape<T>& s, const Packed<Cell, T>& w, const Step<T>& step, int64_t rows,
                   int64_t in_use, const T* x, int64_t x_row) {
    forward_step<Cell, T>(s, w, step, rows, in_use, x, x_row);
  }

  template <class T>
  static void row(const Problem& p, const Shape<T>& s, const Unit& u, const Step<T>& step, const T* x,
                  T* parts) {
    forward_row<Cell, T>(p, s, u, step, x, parts);
  }

  template <class T>
  static void step_back(const Shape<T>& s, const PackedBack<T>& U, const PackedBack<T>&,
                        const StepBack<T>& step, int64_t rows, int64_t in_use) {
    for (int64_t j = 0; j < s.blocks; ++j)
      for (int64_t r = 0; r < in_use; ++r)
        Cell::template differentiate<T>(step, place(s, rows, j, r));
    multiply_back<T, true>(U, rows, in_use, step.da + Cell::H_FIRST * step.part, step.to_left);
  }

  template <class T>
  static void add_dU(const Shape<T>& s, const Unit& u, int64_t n, const T* left, Rows left_at,
                     const T* da, Rows da_at, T* dU, const T*) {
    constexpr int64_t L = LANES<T>;
    int64_t panel = u.rows * L;
    add_outer_all<T>(dU, s.padded, Cell::HP * s.padded, s.blocks, n, u.rows,
                     da + Cell::H_FIRST * u.rows * s.padded, da_at, panel, left, left_at, panel);
  }
};

}  // namespace TT_ISA
}  // namespace throughtime
