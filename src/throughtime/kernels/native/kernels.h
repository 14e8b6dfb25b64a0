// The kernels of one kind of processor, as a table: included once by each file that is compiled for one.

#include "gru.h"
#include "lstm.h"
#include "min_gru.h"
#include "min_lstm.h"
#include "problem.h"
#include "rnn.h"

namespace throughtime {
namespace TT_ISA {

template <class T, Vec<T> (*function)(Vec<T>)>
void elementwise(const void* from, void* to, int64_t count) {
  for (int64_t i = 0; i < count; i += LANES<T>) {
    int n = least(count - i, LANES<T>);
    store_part(static_cast<T*>(to) + i, function(load_part(static_cast<const T*>(from) + i, n)), n);
  }
}

#define TT_BOTH(function, cell) \
  { function<cell, float>, function<cell, double> }
#define TT_ALL(function, scan)                                                                 \
  {                                                                                            \
    TT_BOTH(function, RnnCell<false>), TT_BOTH(function, RnnCell<true>),                       \
        TT_BOTH(function, LstmCell), TT_BOTH(function, GruAfterCell), TT_BOTH(function, GruBeforeCell), \
        TT_BOTH(scan, MinGruCell<false>), TT_BOTH(scan, MinGruCell<true>),                     \
        TT_BOTH(scan, MinLstmCell<false>), TT_BOTH(scan, MinLstmCell<true>)                    \
  }

constexpr Kernels kernels = {
    TT_VECTOR_BYTES,
    TT_ALL(forward, scan),
    TT_ALL(adjoint, scan_back),
    {elementwise<float, sigmoid<float>>, elementwise<double, sigmoid<double>>},
    {elementwise<float, tanh<float>>, elementwise<double, tanh<double>>}};

#undef TT_BOTH
#undef TT_ALL

}  // namespace TT_ISA
}  // namespace throughtime
