// What is asked of a kernel, and the door to those of each processor.

#pragma once

#include <cstdint>

namespace throughtime {

// How many numbers lie between one time step, member, row of the batch and the next.
struct Strides {
  int64_t t, e, b;
};

// A scan (linear_scan.h) is given W x + b in the place of x, [T, E, B, PARTS H], without W, U and biases; it
// knows no dropout, no clip and nothing packed, and must be given dh_0 and dx.
//
// A recurrence over x [T, E, B, I], or over packed x [N, I]; numbers within the last axis are contiguous, and so is every
// tensor without strides of its own. An address may be null where the comment says "or none".
struct Problem {
  int64_t threads, T, E, B, I, H, reversed;  // reversed: from the last step to the first
  const void* x;
  Strides x_at;
  const void *h_0, *c_0;          // [E, B, H] or none (zeros)
  const void *W, *U, *b_ih, *b_hh;  // [E, GH, I], [E, GH, H], [E, GH] or none
  const void* mask;               // bytes [T, E, B] or none; 0: the states are carried unchanged
  Strides mask_at;
  const void* dropout;            // [E, B, H] or none: h_{t-1} is multiplied by it on its way to U
  const void *zone_h, *zone_c;    // [T, E, B, H] or none: how much of h_{t-1}, c_{t-1} is kept
  Strides zone_h_at, zone_c_at;
  // For packed sequences [N, .]: the row at which each step starts, T + 1 of them; else none. A step
  // has as many rows of the batch as lie before the next one starts; never more than the step before.
  const int64_t* starts;
  void* residual;  // what the adjoint reads; or none, if there will be no adjoint
  Strides residual_at;  // of a scan, whose residual is h [T, E, B, H] once more
  void* h;         // [T, E, B, H], written by the forward pass
  Strides h_at;
  void *h_n, *c_n;  // [E, B, H], written by the forward pass
  // The adjoint reads these ...
  const void* d_h;  // [T, E, B, H] or none
  Strides d_h_at;
  const void *d_h_n, *d_c_n;  // [E, B, H] or none
  // ... and writes these, each or none
  void* dx;
  Strides dx_at;
  void *dh_0, *dc_0, *dW, *dU, *db_ih, *db_hh;
  void *all_dh, *all_dc;      // [T, E, B, H]: the gradient of every state
  void *norm_dh, *norm_dc;    // [T, E, B]: its norm
  double clip;  // the norm to which the gradient of a state (h_t, c_t) is limited; 0: no limit
};

enum Recurrence {
  RNN_TANH, RNN_RELU, LSTM, GRU_AFTER, GRU_BEFORE,
  MIN_GRU, MIN_GRU_POSITIVE, MIN_LSTM, MIN_LSTM_POSITIVE,  // scans (linear_scan.h)
  RECURRENCES
};
enum Precision { FLOAT, DOUBLE, PRECISIONS };

using Kernel = void (*)(const Problem&);
using Elementwise = void (*)(const void* from, void* to, int64_t count);

// The kernels for one kind of processor.
struct Kernels {
  int64_t vector_bytes;
  Kernel forward[RECURRENCES][PRECISIONS], adjoint[RECURRENCES][PRECISIONS];
  Elementwise sigmoid[PRECISIONS], tanh[PRECISIONS];
};

extern const Kernels portable_kernels, avx2_kernels, avx512_kernels;

// Rows of the batch that one thread takes through time. It depends on the problem alone, so that the
// order of summation, and with it every number, is the same for any number of threads.
inline int64_t rows_together(const Problem& p) {
  if (p.T * p.B <= 4) return 1;
  if (p.B >= 96) return 24;
  int64_t units = p.B < 6 ? 1 : p.B < 24 ? (p.B + 5) / 6 : 4;
  return (p.B + units - 1) / units;
}

}  // namespace throughtime
