// Reading PyTorch's tensors without its headers.
//
// DLPack's exchange API is a table of C functions that PyTorch offers on its tensor type: one call
// tells where a tensor's numbers lie. Versions of PyTorch that have none are asked by attributes.

#pragma once

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030A0000
#endif
#include <Python.h>

#include <cstdint>

namespace throughtime {

enum class Kind { FLOAT, DOUBLE, BOOL, INTEGER, OTHER };

struct Tensor {
  static constexpr int MOST_AXES = 5;

  void* data = nullptr;
  int axes = 0;
  int64_t shape[MOST_AXES] = {}, strides[MOST_AXES] = {};
  Kind kind = Kind::OTHER;
  bool on_cpu = false;

  bool is_none() const { return axes == 0; }
};

// Take the capsule torch.Tensor.__dlpack_c_exchange_api__, or None; false if it is something else.
bool set_exchange(PyObject* capsule);

// Read a tensor, or None; false with an exception if it is no tensor of one to five axes.
bool read(PyObject* from, Tensor& to);

}  // namespace throughtime
