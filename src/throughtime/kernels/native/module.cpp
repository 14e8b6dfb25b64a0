// The Python module: chooses the kernels for this processor and hands problems to them.
//
// Addresses and sizes come as integers in the order of `Problem`, so that one build serves every
// version of PyTorch; throughtime.kernels.native checks them before they get here.

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include <cstring>
#include <new>

#include "problem.h"

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

constexpr Py_ssize_t FIELDS = sizeof(Problem) / 8;

bool read_long(PyObject* from, int64_t& to) {
  to = PyLong_AsLongLong(from);
  return !(to == -1 && PyErr_Occurred());
}

// Fill a struct of fields of eight bytes; a float is written as a double.
bool read_fields(PyObject* const* from, Py_ssize_t count, void* to) {
  char* field = static_cast<char*>(to);
  for (Py_ssize_t i = 0; i < count; ++i, field += 8) {
    int64_t value;
    if (PyFloat_Check(from[i])) {
      double number = PyFloat_AsDouble(from[i]);
      std::memcpy(field, &number, 8);
    } else if (read_long(from[i], value)) {
      std::memcpy(field, &value, 8);
    } else {
      return false;
    }
  }
  return true;
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

PyObject* run(const Table Kernels::*table, PyObject* const* args, Py_ssize_t count) {
  int64_t recurrence, precision;
  Problem problem;
  if (count != 3 + FIELDS)
    return PyErr_Format(PyExc_TypeError, "expected %zd numbers, got %zd", 3 + FIELDS, count);
  const Kernels* kernels = kernels_for(args[0]);
  if (!kernels || !read_long(args[1], recurrence) || !read_long(args[2], precision) ||
      !read_fields(args + 3, FIELDS, &problem))
    return nullptr;
  if (recurrence < 0 || recurrence >= RECURRENCES || precision < 0 || precision >= PRECISIONS)
    return PyErr_Format(PyExc_ValueError, "no such recurrence or precision");
  bool enough = true;
  Py_BEGIN_ALLOW_THREADS;
  try {
    (kernels->*table)[recurrence][precision](problem);
  } catch (const std::bad_alloc&) {
    enough = false;
  }
  Py_END_ALLOW_THREADS;
  if (!enough) return PyErr_NoMemory();
  Py_RETURN_NONE;
}

PyObject* forward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return run(&Kernels::forward, args, count);
}

PyObject* adjoint(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return run(&Kernels::adjoint, args, count);
}

PyObject* apply(const Elementwise (Kernels::*functions)[PRECISIONS], PyObject* const* args,
                Py_ssize_t count) {
  int64_t numbers[4];  // precision, from, to, count
  if (count != 5) return PyErr_Format(PyExc_TypeError, "expected 5 numbers, got %zd", count);
  const Kernels* kernels = kernels_for(args[0]);
  if (!kernels || !read_fields(args + 1, 4, numbers)) return nullptr;
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

// The names that tensors are asked by, made once.
struct Names {
  PyObject *dtype, *is_cpu, *numel, *is_contiguous, *data_ptr;
} names;

bool make_names() {
  names = {PyUnicode_InternFromString("dtype"), PyUnicode_InternFromString("is_cpu"),
           PyUnicode_InternFromString("numel"), PyUnicode_InternFromString("is_contiguous"),
           PyUnicode_InternFromString("data_ptr")};
  return names.dtype && names.is_cpu && names.numel && names.is_contiguous && names.data_ptr;
}

// Say whether an attribute of a tensor, or the answer of a method, is the one expected.
bool is(PyObject* tensor, PyObject* name, PyObject* expected) {
  PyObject* found = PyObject_GetAttr(tensor, name);
  Py_XDECREF(found);
  return found == expected;
}

bool holds(PyObject* tensor, PyObject* question) {
  PyObject* answer = PyObject_CallMethodObjArgs(tensor, question, nullptr);
  Py_XDECREF(answer);
  return answer == Py_True;
}

bool ask(PyObject* tensor, PyObject* question, int64_t& number) {
  PyObject* answer = PyObject_CallMethodObjArgs(tensor, question, nullptr);
  bool known = answer && read_long(answer, number);
  Py_XDECREF(answer);
  return known;
}

// addresses(types, dtype, tensors, counts): where the numbers of each tensor lie, 0 for None; or
// None, unless all are of one of two types, of the dtype, on the CPU, contiguous, of these counts.
PyObject* addresses(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 4 || !PyTuple_Check(args[0]) || PyTuple_Size(args[0]) != 2 ||
      !PyList_Check(args[2]) || !PyTuple_Check(args[3]) ||
      PyList_Size(args[2]) != PyTuple_Size(args[3]))
    return PyErr_Format(PyExc_TypeError, "expected two types, a dtype, a list and as many counts");
  PyTypeObject* types[] = {reinterpret_cast<PyTypeObject*>(PyTuple_GetItem(args[0], 0)),
                           reinterpret_cast<PyTypeObject*>(PyTuple_GetItem(args[0], 1))};
  PyObject* found = PyList_New(0);
  for (Py_ssize_t i = 0; found && i < PyList_Size(args[2]); ++i) {
    PyObject* tensor = PyList_GetItem(args[2], i);
    int64_t numbers, expected, address = 0;
    if (tensor != Py_None) {
      bool fits = (Py_TYPE(tensor) == types[0] || Py_TYPE(tensor) == types[1]) &&
                  read_long(PyTuple_GetItem(args[3], i), expected) &&
                  is(tensor, names.dtype, args[1]) && is(tensor, names.is_cpu, Py_True) &&
                  holds(tensor, names.is_contiguous) && ask(tensor, names.numel, numbers) &&
                  numbers == expected && ask(tensor, names.data_ptr, address);
      if (!fits) {
        Py_DECREF(found);
        if (PyErr_Occurred()) return nullptr;
        Py_RETURN_NONE;
      }
    }
    PyObject* number = PyLong_FromLongLong(address);
    if (!number || PyList_Append(found, number) < 0) Py_CLEAR(found);
    Py_XDECREF(number);
  }
  return found;
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
    TT_FAST(addresses),
    {"available", available, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", nullptr, -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace
}  // namespace throughtime

PyMODINIT_FUNC PyInit__native() {
  using namespace throughtime;
  return make_names() ? PyModule_Create(&definition) : nullptr;
}
