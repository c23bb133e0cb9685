// Binding of an op: one bind_<op>.cpp names each field of its argument struct once and registers itself.
//
//   MOTIVE_BINDING(noise_latents, m) {
//     def_arguments<NoiseLatents>(m, "NoiseLatents", FIELD(noisy), FIELD(size));
//     def_op(m, "noise_latents", &cpu::noise_latents);
//   }
//
// Python makes the struct from keywords, NoiseLatents(noisy=address, size=3), all of them required. Pointers come as
// addresses (data_ptr), enums as their numbers. A field of a member, FIELD(x.data), is the keyword x_data. The file is
// compiled into motive_kernels._cpu, and again with MOTIVE_CUDA_MODULE into motive_kernels._cuda if the op has a
// launcher in motive/cuda/<op>.h.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "motive/check.h"
#include "motive/dtype.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/device.h"
#endif

namespace motive::python {

namespace py = pybind11;

// Kernels touch no Python object, so other Python threads run meanwhile.
using WithoutGil = py::call_guard<py::gil_scoped_release>;

#if defined(MOTIVE_CUDA_MODULE)
constexpr bool kCuda = true;
#else
constexpr bool kCuda = false;
#endif

using Register = void (*)(py::module_&);

// What the module calls when it is imported, filled by MOTIVE_BINDING.
inline std::vector<Register>& bindings() {
  static std::vector<Register> all;
  return all;
}

struct Registration {
  explicit Registration(Register function) { bindings().push_back(function); }
};

// The function that binds an op to module `m`.
#define MOTIVE_BINDING(name, m)                             \
  static void bind_##name(py::module_& m);                  \
  static const Registration registered_##name(bind_##name); \
  static void bind_##name(py::module_& m)

// One field of an argument struct, for def_arguments.
#define FIELD(member) ::motive::python::field(#member, [](auto& a) -> auto& { return a.member; })

template <class Get>
struct Field {
  std::string name;
  PyObject* key;  // The name as an interned str, as keywords of a call are: found by its address. Never freed.
  Get get;
};

template <class Get>
Field<Get> field(std::string name, Get get) {
  std::replace(name.begin(), name.end(), '.', '_');
  PyObject* const key = PyUnicode_InternFromString(name.c_str());
  if (key == nullptr) throw py::error_already_set();
  return {name, key, get};
}

// The largest number of an enum that arguments use.
template <class Enum>
constexpr int kLast = -1;
template <>
constexpr int kLast<DType> = int(DType::float16);

template <class T>
T value_from(const char* where, const std::string& name, py::handle value) {
  try {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<T>(py::cast<uintptr_t>(value));
    } else if constexpr (std::is_enum_v<T>) {
      static_assert(kLast<T> >= 0, "kLast of this enum is missing");
      const int code = py::cast<int>(value);
      if (code < 0 || code > kLast<T>) {
        fail(where, name.c_str(), "0 .. " + std::to_string(kLast<T>), std::to_string(code), "pass the enum's number");
      }
      return T(code);
    } else {
      return py::cast<T>(value);
    }
  } catch (const py::cast_error&) {
    fail(where, name.c_str(), "a number that its field holds", std::string(py::repr(value)), "pass another");
  }
}

template <class Args, class Get>
void set_field(const char* where, Args& args, const Field<Get>& field, const py::kwargs& given, size_t& used) {
  using T = std::remove_reference_t<decltype(field.get(args))>;
  // CUDA launchers share structs with the CPU and read no thread count.
  if (kCuda && field.name == "threads") return;
  PyObject* const value = PyDict_GetItemWithError(given.ptr(), field.key);
  if (value == nullptr) fail(where, field.name.c_str(), "given", "nothing", "pass every field");
  field.get(args) = value_from<T>(where, field.name, value);
  ++used;
}

// Defines class `name`, made from one keyword a field.
template <class Args, class... Get>
py::class_<Args> def_arguments(py::module_& m, const char* name, Field<Get>... fields) {
  return py::class_<Args>(m, name, py::module_local()).def(py::init([name, fields...](const py::kwargs& given) {
    Args args{};
    size_t used = 0;
    (set_field(name, args, fields, given, used), ...);
    if (used != given.size()) fail(name, "keywords", "fields", std::string(py::repr(given)), "leave others out");
    return args;
  }));
}

// Defines name(args) of the CPU module.
template <class Args>
void def_op(py::module_& m, const char* name, void (*run)(const Args&)) {
  m.def(name, run, py::arg("args"), WithoutGil());
}

#if defined(MOTIVE_CUDA_MODULE)
// Defines name_workspace(args) -> floats and name(args, workspace, device, stream) of the CUDA module.
template <class Args, class Workspace, class Run>
void def_launch(py::module_& m, const std::string& name, Workspace workspace, Run run) {
  m.def((name + "_workspace").c_str(), [workspace](const Args& args) -> int64_t { return workspace(args); },
        py::arg("args"));
  m.def(
      name.c_str(),
      [run](const Args& args, uintptr_t memory, int device, uintptr_t stream) {
        const cuda::DeviceGuard guard(device);
        run(args, reinterpret_cast<float*>(memory), reinterpret_cast<void*>(stream));
      },
      py::arg("args"), py::kw_only(), py::arg("workspace"), py::arg("device"), py::arg("stream"), WithoutGil());
}

template <class Args>
void def_op(py::module_& m, const char* name, int64_t (*workspace)(const Args&),
            void (*run)(const Args&, float*, void*)) {
  def_launch<Args>(m, name, workspace, run);
}

// For a launcher that needs no working memory.
template <class Args>
void def_op(py::module_& m, const char* name, void (*run)(const Args&, void*)) {
  def_launch<Args>(
      m, name, [](const Args&) { return int64_t(0); },
      [run](const Args& args, float*, void* stream) { run(args, stream); });
}
#endif

}  // namespace motive::python
