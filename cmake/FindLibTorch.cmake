# Finds LibTorch's CPU libraries and defines the imported target LibTorch::LibTorch.
#
# Looks, in this order, under LIBTORCH_ROOT, under every CMAKE_PREFIX_PATH entry, and in the `torch` package of the
# Python that CMake finds (the checkout's .venv first). Only libtorch_cpu and libc10 are linked: a program starts
# without loading the CUDA libraries of a CUDA wheel, and no CUDA toolkit is needed to build.

set(_libtorch_hints ${LIBTORCH_ROOT} $ENV{LIBTORCH_ROOT} ${CMAKE_PREFIX_PATH})
file(GLOB _libtorch_venv "${CMAKE_CURRENT_LIST_DIR}/../.venv/lib/python3*/site-packages/torch")
list(APPEND _libtorch_hints ${_libtorch_venv})

find_path(LibTorch_INCLUDE_DIR NAMES ATen/ATen.h HINTS ${_libtorch_hints} PATH_SUFFIXES include)
if(NOT LibTorch_INCLUDE_DIR)
  find_package(Python3 COMPONENTS Interpreter QUIET)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -c
              "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _libtorch_python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    find_path(LibTorch_INCLUDE_DIR NAMES ATen/ATen.h HINTS ${_libtorch_python} PATH_SUFFIXES include)
  endif()
endif()
if(LibTorch_INCLUDE_DIR)
  get_filename_component(_libtorch_root "${LibTorch_INCLUDE_DIR}" DIRECTORY)
endif()
find_library(LibTorch_CPU_LIBRARY NAMES torch_cpu HINTS ${_libtorch_root}/lib NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY NAMES c10 HINTS ${_libtorch_root}/lib NO_DEFAULT_PATH)
foreach(_libtorch_header IN ITEMS torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(LibTorch_INCLUDE_DIR AND NOT LibTorch_VERSION AND EXISTS "${LibTorch_INCLUDE_DIR}/${_libtorch_header}")
    file(STRINGS "${LibTorch_INCLUDE_DIR}/${_libtorch_header}" _libtorch_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
    string(REGEX REPLACE "[^0-9;]" "" LibTorch_VERSION "${_libtorch_lines}")
    string(REPLACE ";" "." LibTorch_VERSION "${LibTorch_VERSION}")
  endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "Run scripts/setup, or give -DCMAKE_PREFIX_PATH=<libtorch>")
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY)

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::c10 UNKNOWN IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}")
  add_library(LibTorch::LibTorch UNKNOWN IMPORTED)
  set_target_properties(
    LibTorch::LibTorch
    PROPERTIES IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}"
               INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
               INTERFACE_LINK_LIBRARIES LibTorch::c10)
endif()
