// The Python module: chooses the kernels for this processor and hands problems to them.
//
// Tensors are read through tensors.h, so that one build serves every version of PyTorch, and checked
// here: beyond this file there are only addresses.

#include <algorithm>
#include <initializer_list>
#include <new>
#include <string>
#include <vector>

#include "problem.h"
#include "team.h"
#include "tensors.h"

namespace throughtime {
namespace {

struct Processor {
  const char* name;
  const Kernels* kernels;
  bool runs;
};

#if defined(__x86_64__)
#define TT_HAS(feature) (__builtin_cpu_supports(feature) != 0)
const Processor processors[] = {
    {"avx512", &avx512_kernels,
     TT_HAS("avx512f") && TT_HAS("avx512dq") && TT_HAS("avx512bw") && TT_HAS("avx512vl")},
    {"avx2", &avx2_kernels, TT_HAS("avx2") && TT_HAS("fma")},
    {"portable", &portable_kernels, true},
};
#else
const Processor processors[] = {{"portable", &portable_kernels, true}};
#endif

constexpr int64_t PROCESSORS = sizeof processors / sizeof processors[0];

bool read_long(PyObject* from, int64_t& to) {
  to = PyLong_AsLongLong(from);
  return !(to == -1 && PyErr_Occurred());
}

// The kernels that the first number asks for; or none, with an exception.
const Kernels* kernels_for(PyObject* number) {
  int64_t index;
  if (!read_long(number, index)) return nullptr;
  if (index >= 0 && index < PROCESSORS && processors[index].runs) return processors[index].kernels;
  PyErr_SetString(PyExc_ValueError, "no kernels of this number run here");
  return nullptr;
}

using Table = Kernel[RECURRENCES][PRECISIONS];

// The tensors of a problem, in the order in which Python gives them.
enum Part {
  X, H_0, C_0, W, U, B_IH, B_HH, MASK, DROPOUT, ZONE_H, ZONE_C, RESIDUAL,  // given to both passes
  H, H_N, C_N,         // written forward
  D_H, D_H_N, D_C_N,   // read back
  DX, DH_0, DC_0, DW, DU, DB_IH, DB_HH, ALL_DH, ALL_DC, NORM_DH, NORM_DC,  // written back
  PARTS
};
const char* const NAMES[PARTS] = {
    "x",        "h_0",   "c_0",     "W",     "U",     "b_ih",  "b_hh",  "mask", "dropout",
    "zone_h",   "zone_c", "residual", "h_TBH", "h_n",  "c_n",   "d_h_TBH", "d_h_n", "d_c_n",
    "dx",       "dh_0",  "dc_0",    "dW",    "dU",    "db_ih", "db_hh", "dh_TBH", "dc_TBH",
    "dh_norm_TB", "dc_norm_TB"};

PyObject* tensor_error = nullptr;  // throughtime._errors.TensorError

std::string listed(const int64_t* sizes, int count) {
  std::string text = "[";
  for (int i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + "]";
}

const char* named(Kind kind) {
  const char* const names[] = {"float32", "float64", "bool", "int64", "another precision"};
  return names[static_cast<int>(kind)];
}

bool refuse(const std::string& expected, const std::string& found) {
  PyObject* error = PyObject_CallFunction(
      tensor_error, "sss", expected.c_str(), found.c_str(),
      "sizes and precision follow those of x and U; move it to the CPU, or call .contiguous()");
  if (error) PyErr_SetObject(tensor_error, error);
  Py_XDECREF(error);
  return false;
}

// A problem, filled from tensors that are checked: what follows reads and writes at bare addresses.
class Reader {
 public:
  Problem problem = {};

  bool read_all(PyObject* const* from, Py_ssize_t first, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; ++i)
      if (!read(from[i], tensors_[first + i])) return false;
    return true;
  }

  int precision() const { return tensors_[X].kind == Kind::DOUBLE; }

  // Check everything; `kept` and `gates` are those of the recurrence, `lanes` the processor's.
  bool fill(int64_t gates, int64_t states, int64_t kept, int64_t lanes) {
    const Tensor &x = tensors_[X], &u = tensors_[U];
    bool known = x.kind == Kind::FLOAT || x.kind == Kind::DOUBLE;
    packed_ = tensors_[MASK].kind == Kind::INTEGER;
    if (!known || !x.on_cpu || (packed_ ? x.axes != 2 : x.axes != 3 && x.axes != 4))
      return refuse("x [T, B, I], [T, E, B, I] or, packed, [N, I] in float32 or float64 on the CPU",
                    listed(x.shape, x.axes) + " in " + named(x.kind));
    if (u.is_none() || u.axes < 2) return refuse("U", "none");
    if (tensors_[W].is_none()) return refuse("W", "none");
    members_ = x.axes == 4;
    Problem& p = problem;
    p.T = x.shape[0], p.E = members_ ? x.shape[1] : 1;
    p.B = x.shape[x.axes - 2], p.I = x.shape[x.axes - 1], p.H = u.shape[u.axes - 1];
    if (packed_ && !unpack()) return false;
    for (Part part : {ALL_DH, ALL_DC, NORM_DH, NORM_DC})
      if (packed_ && !tensors_[part].is_none())
        return refuse("no record of the states of a packed x", NAMES[part]);
    int64_t G = gates * p.H, padded = (p.H + lanes - 1) / lanes * lanes;
    bool zoned = !tensors_[ZONE_H].is_none() || !tensors_[ZONE_C].is_none();
    int64_t residual = p.B * padded * ((p.T + 1) * states + p.T * (kept + zoned));
    return along_time(X, {p.I}, p.x, p.x_at) && dense({H_0, DH_0, H_N, D_H_N}, {p.B, p.H}) &&
           dense({C_0, DC_0, C_N, D_C_N}, {p.B, p.H}) && dense({W, DW}, {G, p.I}) &&
           dense({U, DU}, {G, p.H}) && dense({B_IH, B_HH, DB_IH, DB_HH}, {G}) &&
           (packed_ || along_time(MASK, {}, p.mask, p.mask_at)) && dense({DROPOUT}, {p.B, p.H}) &&
           zones() && dense({RESIDUAL}, {residual}) &&
           along_time(H, {p.H}, p.h, p.h_at) && along_time(D_H, {p.H}, p.d_h, p.d_h_at) &&
           along_time(DX, {p.I}, p.dx, p.dx_at) && record({ALL_DH, ALL_DC}, {p.H}) &&
           record({NORM_DH, NORM_DC}, {}) && place();
  }

  // The same for a scan, whose x are the pre-activations of all gates.
  bool fill_scan(int64_t gates, bool back) {
    const Tensor &x = tensors_[X], &h = tensors_[H_0];
    bool known = x.kind == Kind::FLOAT || x.kind == Kind::DOUBLE;
    if (!known || !x.on_cpu || (x.axes != 3 && x.axes != 4) || tensors_[MASK].kind == Kind::INTEGER)
      return refuse("x [T, B, GH] or [T, E, B, GH] in float32 or float64 on the CPU",
                    listed(x.shape, x.axes) + " in " + named(x.kind));
    if (h.is_none() || h.axes < 2) return refuse("h_0", "none");
    for (Part part : {C_0, W, U, B_IH, B_HH, DROPOUT, ZONE_C})
      if (!tensors_[part].is_none()) return refuse("a scan without it", NAMES[part]);
    for (Part part : {C_N, D_C_N, DC_0, DW, DU, DB_IH, DB_HH, ALL_DC, NORM_DH, NORM_DC})
      if (!tensors_[part].is_none()) return refuse("a scan without it", NAMES[part]);
    for (Part part : {back ? RESIDUAL : H, back ? DX : H_N, back ? DH_0 : H_N})
      if (tensors_[part].is_none()) return refuse(NAMES[part], "none");
    members_ = x.axes == 4;
    Problem& p = problem;
    p.T = x.shape[0], p.E = members_ ? x.shape[1] : 1;
    p.B = x.shape[x.axes - 2], p.H = h.shape[h.axes - 1], p.I = gates * p.H;
    return along_time(X, {p.I}, p.x, p.x_at) && dense({H_0, DH_0, H_N, D_H_N}, {p.B, p.H}) &&
           along_time(MASK, {}, p.mask, p.mask_at) && zones() &&
           along_time(RESIDUAL, {p.H}, p.residual, p.residual_at) &&
           along_time(H, {p.H}, p.h, p.h_at) &&
           along_time(D_H, {p.H}, p.d_h, p.d_h_at) && along_time(DX, {p.I}, p.dx, p.dx_at) &&
           record({ALL_DH}, {p.H}) && place();
  }

 private:
  using Parts = std::initializer_list<Part>;
  using Sizes = std::initializer_list<int64_t>;

  Tensor tensors_[PARTS];
  bool members_ = false, packed_ = false;
  std::vector<int64_t> starts_;

  // The rows of each step of a packed sequence: 64-bit integers that never grow.
  bool unpack() {
    const Tensor& sizes = tensors_[MASK];
    const auto* rows = static_cast<const int64_t*>(sizes.data);
    const int64_t N = tensors_[X].shape[0];
    bool good = sizes.on_cpu && sizes.axes == 1 && sizes.shape[0] > 0 && is_contiguous(MASK);
    starts_.push_back(0);
    for (int64_t t = 0; good && t < sizes.shape[0]; ++t) {
      good = rows[t] >= 1 && rows[t] <= (t ? rows[t - 1] : N);
      starts_.push_back(starts_.back() + rows[t]);
    }
    if (!good || starts_.back() != N)
      return PyErr_Occurred() ? false
                              : refuse("batch_sizes that never grow and add up to the rows of x, " +
                                           std::to_string(N),
                                       listed(rows, good ? std::min<int64_t>(sizes.shape[0], 8) : 0));
    problem.T = sizes.shape[0], problem.B = rows[0], problem.starts = starts_.data();
    return true;
  }

  // Is it of these sizes, from the last one on; before them there may be axes of one.
  bool is_of(Part part, const int64_t* sizes, int count) {
    const Tensor& t = tensors_[part];
    Kind kind = part == MASK ? Kind::BOOL : tensors_[X].kind;
    bool fits = t.axes >= count && t.kind == kind && t.on_cpu;
    for (int i = 0; fits && i < t.axes; ++i) {
      int j = i - (t.axes - count);
      fits = t.shape[i] == (j < 0 ? 1 : sizes[j]);
    }
    if (fits) return true;
    return refuse(std::string(NAMES[part]) + " of shape " + listed(sizes, count) + " in " +
                      named(kind) + " on the CPU",
                  listed(t.shape, t.axes) + " in " + named(t.kind) + (t.on_cpu ? "" : " elsewhere"));
  }

  bool is_contiguous(Part part) {
    const Tensor& t = tensors_[part];
    for (int i = 0; i < t.axes; ++i)
      if (t.shape[i] == 0) return true;
    int64_t stride = 1;
    for (int i = t.axes - 1; i >= 0; --i) {
      if (t.shape[i] > 1 && t.strides[i] != stride)
        return refuse(std::string(NAMES[part]) + " to be contiguous",
                      "strides " + listed(t.strides, t.axes));
      stride *= t.shape[i];
    }
    return true;
  }

  bool dense(Parts parts, Sizes sizes) {
    int64_t expected[Tensor::MOST_AXES] = {problem.E};
    int count = members_;
    for (int64_t size : sizes) expected[count++] = size;
    for (Part part : parts)
      if (!tensors_[part].is_none() && !(is_of(part, expected, count) && is_contiguous(part)))
        return false;
    return true;
  }

  bool record(Parts parts, Sizes sizes) {
    for (Part part : parts) {
      const void* address;
      Strides at;
      if (!along_time(part, sizes, address, at) || !is_contiguous(part)) return false;
    }
    return true;
  }

  template <class Address>
  bool along_time(Part part, Sizes features, Address& address, Strides& at) {
    const Tensor& t = tensors_[part];
    if (t.is_none()) return true;
    int64_t expected[Tensor::MOST_AXES] = {problem.T, problem.E};
    int count = 1 + members_;
    if (packed_) expected[0] = tensors_[X].shape[0];
    else expected[count++] = problem.B;
    for (int64_t size : features) expected[count++] = size;
    if (t.axes != count) expected[0] = -1;  // here, no more axes than these
    if (!is_of(part, expected, count)) return false;
    int last = t.axes - 1;
    if (features.size() && t.shape[last] > 1 && t.strides[last] != 1)
      return refuse(std::string(NAMES[part]) + " to be dense along its last axis",
                    "strides " + listed(t.strides, t.axes));
    address = t.data;
    at = {t.strides[0], members_ ? t.strides[1] : 0, t.strides[packed_ ? 0 : 1 + members_]};
    return true;
  }

  // Zoneout has all rows at all steps, also for packed sequences.
  bool zones() {
    bool packed = packed_;
    packed_ = false;
    Problem& p = problem;
    bool good = along_time(ZONE_H, {p.H}, p.zone_h, p.zone_h_at) &&
                along_time(ZONE_C, {p.H}, p.zone_c, p.zone_c_at);
    packed_ = packed;
    return good;
  }

  bool place() {
    auto at = [&](Part part) { return tensors_[part].data; };
    Problem& p = problem;
    p.h_0 = at(H_0), p.c_0 = at(C_0), p.W = at(W), p.U = at(U), p.b_ih = at(B_IH), p.b_hh = at(B_HH);
    p.dropout = at(DROPOUT);
    p.residual = at(RESIDUAL), p.h_n = at(H_N), p.c_n = at(C_N), p.d_h_n = at(D_H_N);
    p.d_c_n = at(D_C_N), p.dh_0 = at(DH_0), p.dc_0 = at(DC_0), p.dW = at(DW), p.dU = at(DU);
    p.db_ih = at(DB_IH), p.db_hh = at(DB_HH), p.all_dh = at(ALL_DH), p.all_dc = at(ALL_DC);
    p.norm_dh = at(NORM_DH), p.norm_dc = at(NORM_DC);
    return true;
  }
};

struct Form {
  int64_t gates, states, kept;
  bool scans;
};
constexpr Form FORMS[RECURRENCES] = {
    {1, 1, 0, false}, {1, 1, 0, false}, {4, 2, 4, false}, {3, 1, 4, false}, {3, 1, 3, false},
    {2, 1, 0, true},  {2, 1, 0, true},  {3, 1, 0, true},  {3, 1, 0, true}};

// Both passes: (processor, recurrence, threads, reversed, clip, x, h_0, .. residual, then their own).
PyObject* solve(const Table Kernels::*table, PyObject* const* args, Py_ssize_t count, Part first,
                Part end) {
  constexpr Py_ssize_t NUMBERS = 5, COMMON = RESIDUAL + 1;
  int64_t recurrence;
  Reader reader;
  Problem& problem = reader.problem;
  if (count != NUMBERS + COMMON + (end - first))
    return PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd",
                        NUMBERS + COMMON + (end - first), count);
  const Kernels* kernels = kernels_for(args[0]);
  if (!kernels || !read_long(args[1], recurrence) || !read_long(args[2], problem.threads) ||
      !read_long(args[3], problem.reversed))
    return nullptr;
  problem.clip = PyFloat_AsDouble(args[4]);
  if (recurrence < 0 || recurrence >= RECURRENCES)
    return PyErr_Format(PyExc_ValueError, "no such recurrence");
  const Form& form = FORMS[recurrence];
  if (PyErr_Occurred() || !reader.read_all(args + NUMBERS, X, COMMON) ||
      !reader.read_all(args + NUMBERS + COMMON, first, end - first))
    return nullptr;
  int64_t lanes = kernels->vector_bytes / (reader.precision() ? 8 : 4);
  if (form.scans ? !reader.fill_scan(form.gates, first == D_H)
                 : !reader.fill(form.gates, form.states, form.kept, lanes))
    return nullptr;
  bool enough = true;
  Py_BEGIN_ALLOW_THREADS;
  try {
    (kernels->*table)[recurrence][reader.precision()](problem);
  } catch (const std::bad_alloc&) {
    enough = false;
  }
  Py_END_ALLOW_THREADS;
  if (!enough) return PyErr_NoMemory();
  Py_RETURN_NONE;
}

PyObject* forward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return solve(&Kernels::forward, args, count, H, D_H);
}

PyObject* adjoint(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return solve(&Kernels::adjoint, args, count, D_H, PARTS);
}

// set_up(TensorError, torch.Tensor.__dlpack_c_exchange_api__ or None, address of torch_parallel_for)
PyObject* set_up(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 3) return PyErr_Format(PyExc_TypeError, "expected 3 arguments, got %zd", count);
  void* parallel_for = PyLong_AsVoidPtr(args[2]);
  if (PyErr_Occurred() || !set_exchange(args[1])) return nullptr;
  use_parallel_for(parallel_for);
  Py_INCREF(args[0]);
  Py_XDECREF(tensor_error);
  tensor_error = args[0];
  Py_RETURN_NONE;
}

PyObject* apply(const Elementwise (Kernels::*functions)[PRECISIONS], PyObject* const* args,
                Py_ssize_t count) {
  int64_t numbers[4];  // precision, from, to, count
  if (count != 5) return PyErr_Format(PyExc_TypeError, "expected 5 numbers, got %zd", count);
  const Kernels* kernels = kernels_for(args[0]);
  if (!kernels) return nullptr;
  for (int i = 0; i < 4; ++i)
    if (!read_long(args[1 + i], numbers[i])) return nullptr;
  (kernels->*functions)[numbers[0] != 0](reinterpret_cast<const void*>(numbers[1]),
                                         reinterpret_cast<void*>(numbers[2]), numbers[3]);
  Py_RETURN_NONE;
}

PyObject* sigmoid(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return apply(&Kernels::sigmoid, args, count);
}

PyObject* tanh(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return apply(&Kernels::tanh, args, count);
}

// [(number, name, bytes of a vector)] of the kernels that run on this processor, the fastest first.
PyObject* available(PyObject*, PyObject*) {
  PyObject* found = PyList_New(0);
  for (int64_t i = 0; found && i < PROCESSORS; ++i) {
    if (!processors[i].runs) continue;
    PyObject* item = Py_BuildValue("(LsL)", (long long)i, processors[i].name,
                                   (long long)processors[i].kernels->vector_bytes);
    if (!item || PyList_Append(found, item) < 0) Py_CLEAR(found);
    Py_XDECREF(item);
  }
  return found;
}

#define TT_FAST(name) \
  { #name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(name)), METH_FASTCALL, nullptr }

PyMethodDef methods[] = {
    TT_FAST(forward),
    TT_FAST(adjoint),
    TT_FAST(sigmoid),
    TT_FAST(tanh),
    TT_FAST(set_up),
    {"available", available, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", nullptr, -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace
}  // namespace throughtime

PyMODINIT_FUNC PyInit__native() {
  using namespace throughtime;
  return PyModule_Create(&definition);
}
