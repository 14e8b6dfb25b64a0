#include "tensors.h"

namespace throughtime {
namespace {

// DLPack's structs, as its specification lays them out in memory (major version 1).
struct DLTensor {
  void* data;
  struct {
    int32_t type, id;
  } device;
  int32_t axes;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

struct Exchange {
  struct {
    uint32_t major, minor;
    void* previous;
  } header;
  void *allocate, *managed_from_object, *object_from_managed;
  int (*read)(void* object, DLTensor* to);
  void* stream;
};

constexpr int32_t CPU = 1;
constexpr uint8_t INTEGER = 0, FLOATING = 2, BOOLEAN = 6;

const Exchange* exchange = nullptr;

bool too_many_axes(int64_t axes) {
  if (axes >= 1 && axes <= Tensor::MOST_AXES) return false;
  PyErr_Format(PyExc_TypeError, "expected one to %d axes, got %lld", Tensor::MOST_AXES,
               (long long)axes);
  return true;
}

bool read_quickly(PyObject* from, Tensor& to) {
  DLTensor found;
  if (exchange->read(from, &found) != 0) return false;
  if (too_many_axes(found.axes)) return false;
  to.axes = found.axes;
  for (int i = 0; i < to.axes; ++i) {
    to.shape[i] = found.shape[i];
    to.strides[i] = found.strides[i];
  }
  to.data = static_cast<char*>(found.data) + found.byte_offset;
  to.on_cpu = found.device.type == CPU;
  if (found.dtype.code == FLOATING && found.dtype.bits == 32) to.kind = Kind::FLOAT;
  if (found.dtype.code == FLOATING && found.dtype.bits == 64) to.kind = Kind::DOUBLE;
  if (found.dtype.code == BOOLEAN) to.kind = Kind::BOOL;
  if (found.dtype.code == INTEGER && found.dtype.bits == 64) to.kind = Kind::INTEGER;
  return true;
}

// A new reference to what an attribute or, with `call`, a method of an object gives.
PyObject* ask(PyObject* object, const char* name, bool call) {
  PyObject* found = PyObject_GetAttrString(object, name);
  if (!found || !call) return found;
  PyObject* answer = PyObject_CallNoArgs(found);
  Py_DECREF(found);
  return answer;
}

bool read_sizes(PyObject* object, const char* name, bool call, int64_t* to, int& axes) {
  PyObject* sizes = ask(object, name, call);
  Py_ssize_t count = sizes ? PySequence_Size(sizes) : -1;
  bool good = count >= 0 && !too_many_axes(count);
  for (Py_ssize_t i = 0; good && i < count; ++i) {
    PyObject* size = PySequence_GetItem(sizes, i);
    to[i] = size ? PyLong_AsLongLong(size) : -1;
    good = !PyErr_Occurred();
    Py_XDECREF(size);
  }
  Py_XDECREF(sizes);
  axes = static_cast<int>(count);
  return good;
}

bool read_slowly(PyObject* from, Tensor& to) {
  PyObject *on_cpu = ask(from, "is_cpu", false), *address = ask(from, "data_ptr", true);
  PyObject *dtype = ask(from, "dtype", false), *name = dtype ? PyObject_Str(dtype) : nullptr;
  bool good = on_cpu && address && name && read_sizes(from, "shape", false, to.shape, to.axes) &&
              read_sizes(from, "stride", true, to.strides, to.axes);
  if (good) {
    to.on_cpu = on_cpu == Py_True;
    to.data = PyLong_AsVoidPtr(address);
    if (PyUnicode_CompareWithASCIIString(name, "torch.float32") == 0) to.kind = Kind::FLOAT;
    if (PyUnicode_CompareWithASCIIString(name, "torch.float64") == 0) to.kind = Kind::DOUBLE;
    if (PyUnicode_CompareWithASCIIString(name, "torch.bool") == 0) to.kind = Kind::BOOL;
    if (PyUnicode_CompareWithASCIIString(name, "torch.int64") == 0) to.kind = Kind::INTEGER;
    good = !PyErr_Occurred();
  }
  Py_XDECREF(on_cpu), Py_XDECREF(address), Py_XDECREF(dtype), Py_XDECREF(name);
  return good;
}

}  // namespace

bool set_exchange(PyObject* capsule) {
  exchange = nullptr;
  if (capsule == Py_None) return true;
  void* table = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
  if (!table) return false;
  auto found = static_cast<const Exchange*>(table);
  if (found->header.major == 1 && found->read) exchange = found;
  return true;
}

bool read(PyObject* from, Tensor& to) {
  if (from == Py_None) return true;
  return exchange ? read_quickly(from, to) : read_slowly(from, to);
}

}  // namespace throughtime
