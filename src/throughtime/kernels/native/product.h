// The small matrix products of a recurrence, blocked for registers.
//
// Values of a few rows lie in panels: [panel][row][lane], so that the k-th number of every row is
// LANES further than that of the row before, whatever the width: no two rows fight for a cache set.
//
//   multiply     acc[m][n] += sum_k a[m][k] w[k][n]      k in order, whatever the tile: the numbers
//                                                        of a row do not depend on its neighbours
//   add_outer    C[m][n]   += sum_row a[row][m] b[row][n]
//   transposed, plain: weights packed into [tile][k][n], as `multiply` reads them

#pragma once

#include "vector.h"

namespace throughtime {
namespace TT_ISA {

// Rows and vectors of a tile: as many accumulators as there are registers, less those for operands.
#if TT_VECTOR_BYTES == 64
constexpr int ROWS = 6, OUTER_ROWS = 8, OUTER_PANELS = 3;
#else
constexpr int ROWS = 2, OUTER_ROWS = 4, OUTER_PANELS = 2;
#endif

template <int N>
struct Constant {
  static constexpr int value = N;
};

TT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
TT_INLINE int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Call f(first, Constant<rows>) for tiles of about equal height that cover n rows.
template <class F>
TT_INLINE void for_row_tiles(int64_t n, F f) {
  int64_t tiles = ceiling(n, ROWS);
  for (int64_t i = 0, first = 0; i < tiles; ++i) {
    int64_t rows = n / tiles + (i < n % tiles);
    switch (rows) {
      case 1: f(first, Constant<1>{}); break;
      case 2: f(first, Constant<2>{}); break;
#if TT_VECTOR_BYTES == 64
      case 3: f(first, Constant<3>{}); break;
      case 4: f(first, Constant<4>{}); break;
      case 5: f(first, Constant<5>{}); break;
      case 6: f(first, Constant<6>{}); break;
#endif
    }
    first += rows;
  }
}

// acc[m][block * A + FIRST + g] += sum_{k < K} a[m * row + k] * w[k][block * COUNT + g]
template <class T, int M, int NB, int A, int FIRST, int COUNT>
TT_INLINE void multiply_some(Vec<T> (&acc)[M][NB * A], const T* a, int64_t row, const T* w, int64_t K) {
#pragma GCC unroll 4
  for (int64_t k = 0; k < K; ++k) {
    Vec<T> weights[NB * COUNT];
#pragma GCC unroll 16
    for (int n = 0; n < NB * COUNT; ++n)
      weights[n] = load(w + (k * NB * COUNT + n) * LANES<T>);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      Vec<T> value = fill<T>(a[m * row + k]);
#pragma GCC unroll 16
      for (int n = 0; n < NB; ++n)
#pragma GCC unroll 16
        for (int g = 0; g < COUNT; ++g)
          acc[m][n * A + FIRST + g] += value * weights[n * COUNT + g];
    }
  }
}

// The same for rows in panels: K numbers, `panel` apart in steps of LANES.
template <class T, int M, int NB, int A, int FIRST, int COUNT>
TT_INLINE void multiply(Vec<T> (&acc)[M][NB * A], const T* a, int64_t panel, const T* w, int64_t K) {
  constexpr int L = LANES<T>;
  for (; K >= L; K -= L, a += panel, w += L * NB * COUNT * L)
    multiply_some<T, M, NB, A, FIRST, COUNT>(acc, a, L, w, L);
  if (K > 0) multiply_some<T, M, NB, A, FIRST, COUNT>(acc, a, L, w, K);
}

// Where the rows of an operand lie: step after step, row after row.
struct Rows {
  int64_t step, row;
};

// C[m * ldc + n * LANES ..] += sum over steps and rows of a[.. + m] * b[.. + n * panel]
template <class T, int M, int N>
void add_outer(T* C, int64_t ldc, int64_t steps, int64_t rows, const T* a, Rows a_at, const T* b,
               Rows b_at, int64_t panel) {
  constexpr int L = LANES<T>;
  Vec<T> acc[M][N];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) acc[m][n] = load(C + m * ldc + n * L);
  for (int64_t s = 0; s < steps; ++s) {
    const T* a_row = a + s * a_at.step;
    const T* b_row = b + s * b_at.step;
    for (int64_t r = 0; r < rows; ++r, a_row += a_at.row, b_row += b_at.row) {
      Vec<T> values[N];
#pragma GCC unroll 16
      for (int n = 0; n < N; ++n) values[n] = load(b_row + n * panel);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        Vec<T> value = fill<T>(a_row[m]);
#pragma GCC unroll 16
        for (int n = 0; n < N; ++n) acc[m][n] += value * values[n];
      }
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) store(C + m * ldc + n * L, acc[m][n]);
}

// For all of C: M rows by N panels; `a_panel` says where a's next LANES columns lie.
template <class T>
void add_outer_all(T* C, int64_t ldc, int64_t M, int64_t N, int64_t steps, int64_t rows, const T* a,
                   Rows a_at, int64_t a_panel, const T* b, Rows b_at, int64_t panel) {
  constexpr int L = LANES<T>, P = OUTER_ROWS < L ? OUTER_ROWS : L;
  for (int64_t n = 0; n < N;) {
    int64_t width = least(N - n, OUTER_PANELS);
    if (N - n == 4 && OUTER_PANELS == 3) width = 2;
    const T* b_n = b + n * panel;
    for (int64_t m = 0; m < M;) {
      const T* a_m = a + m / L * a_panel + m % L;
      T* C_mn = C + m * ldc + n * L;
      auto some = [&](auto height) {
        constexpr int h = decltype(height)::value;
        if (width == 1) add_outer<T, h, 1>(C_mn, ldc, steps, rows, a_m, a_at, b_n, b_at, panel);
        if (width == 2) add_outer<T, h, 2>(C_mn, ldc, steps, rows, a_m, a_at, b_n, b_at, panel);
#if TT_VECTOR_BYTES == 64
        if (width == 3) add_outer<T, h, 3>(C_mn, ldc, steps, rows, a_m, a_at, b_n, b_at, panel);
#endif
        m += h;
      };
      if (M - m >= P) some(Constant<P>{});
      else if (M - m >= 2 && P > 2) some(Constant<2>{});
      else some(Constant<1>{});
    }
    n += width;
  }
}

// Transpose a square of LANES x LANES, by interleaving halves.
template <class T>
TT_INLINE void transpose(Vec<T> (&v)[LANES<T>]) {
  constexpr int L = LANES<T>;
#pragma GCC unroll 8
  for (int stage = 1; stage < L; stage *= 2) {
    Vec<T> w[L];
#pragma GCC unroll 16
    for (int i = 0; i < L / 2; ++i) {
      Bits<T> low, high;
      for (int l = 0; l < L; ++l) {
        low[l] = (l & 1) * L + l / 2;
        high[l] = (l & 1) * L + L / 2 + l / 2;
      }
#if defined(__clang__)
      T a[L], b[L], c[L];
      store(a, v[i]);
      store(b, v[i + L / 2]);
      for (int l = 0; l < L; ++l) c[l] = (l & 1 ? b : a)[l / 2];
      w[2 * i] = load(c);
      for (int l = 0; l < L; ++l) c[l] = (l & 1 ? b : a)[L / 2 + l / 2];
      w[2 * i + 1] = load(c);
#else
      w[2 * i] = __builtin_shuffle(v[i], v[i + L / 2], low);
      w[2 * i + 1] = __builtin_shuffle(v[i], v[i + L / 2], high);
#endif
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) v[i] = w[i];
  }
}

// Products of LANES rows of w [.., K] with a, without packing; rows from `height` on are none.
//
// `beyond` says how many numbers may be read behind the last row: a vector may end in the next row.
template <class T>
TT_INLINE Vec<T> dots(const T* w, int64_t height, int64_t beyond, const T* a, int64_t K) {
  constexpr int L = LANES<T>;
  Vec<T> acc[L] = {};
  int64_t k = 0;
  if (height == L) {
    for (; k + L <= K; k += L) {
      Vec<T> values = load(a + k);
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) acc[l] += load(w + l * K + k) * values;
    }
  }
  for (; k < K; k += L) {
    int width = least(L, K - k);
    Bits<T> inside;
    for (int l = 0; l < L; ++l) inside[l] = l < width ? -1 : 0;
    Vec<T> values = load_part(a + k, width);
    for (int l = 0; l < height; ++l) {
      bool whole = L - width <= beyond + (height - 1 - l) * K;
      Vec<T> row = whole ? load(w + l * K + k) : load_part(w + l * K + k, width);
      acc[l] += (inside ? row : Vec<T>{}) * values;
    }
  }
  transpose<T>(acc);
  for (int width = L / 2; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) acc[l] += acc[l + width];
  return acc[0];
}

// Pack blocks of LANES rows of `gates` gates of W [.., K], so that to.. [k][slot][lane] is contiguous:
// to[(k * slots + slot) * L + l] = W[(gate * H + block * L + l) * K + k], zero outside of H.
template <class T>
void pack_transposed(T* to, int64_t slots, int64_t slot, const T* W, int64_t gate, int64_t block,
                     int64_t H, int64_t K) {
  constexpr int L = LANES<T>;
  int64_t height = least(L, H - block * L);
  const T* from = W + (gate * H + block * L) * K;
  for (int64_t k = 0; k < K; k += L) {
    int64_t width = least(L, K - k);
    Vec<T> v[L];
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l) v[l] = l < height ? load_part(from + l * K + k, width) : Vec<T>{};
    transpose<T>(v);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i)
      if (i < width) store(to + ((k + i) * slots + slot) * L, v[i]);
  }
}

// Pack `width` panels of the columns of rows [first, first + H) of U [.., N], one row after the
// other: to[(k * width + n) * L + l] = U[(first + k) * N + (panel + n) * L + l], zero outside of N;
// rows from H up to `height` are zero.
template <class T>
void pack_plain(T* to, int64_t width, const T* U, int64_t first, int64_t H, int64_t height,
                int64_t panel, int64_t N) {
  constexpr int L = LANES<T>;
  for (int64_t k = 0; k < height; ++k)
    for (int64_t n = 0; n < width; ++n) {
      int64_t column = (panel + n) * L;
      const T* from = U + (first + k) * N + column;
      Vec<T> v = k < H ? load_part(from, least(L, N - column)) : Vec<T>{};
      store(to + (k * width + n) * L, v);
    }
}

}  // namespace TT_ISA
}  // namespace throughtime
