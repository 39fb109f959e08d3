# Finds LibTorch's CPU libraries and defines the imported target LibTorch::LibTorch.
#
# Looks, in this order, under LIBTORCH_ROOT, under every CMAKE_PREFIX_PATH entry, and in the `torch` package of the
# Python that CMake finds (the checkout's .venv first). Only libtorch_cpu and libc10 are linked: a program starts
# without loading the CUDA libraries of a CUDA wheel, and no CUDA toolkit is needed to build.
#
# The component CUDA adds LibTorch::CUDA: libtorch_cuda, libc10_cuda and the CUDA runtime with their headers. Runtime and headers
# come from the LibTorch itself or the `nvidia` packages beside the `torch` package, else from CUDAToolkit_ROOT, CUDA_HOME or the CUDA
# compiler's toolkit: the first of the major version that LibTorch was linked with, which is LibTorch_CUDA_VERSION_MAJOR.

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

set(_libtorch_reason "Run scripts/setup, or give -DCMAKE_PREFIX_PATH=<libtorch>")
if("CUDA" IN_LIST LibTorch_FIND_COMPONENTS)
  file(GLOB _libtorch_wheels "${_libtorch_root}/../nvidia/cu*")
  set(_libtorch_toolkits ${_libtorch_wheels} ${CUDAToolkit_ROOT} $ENV{CUDAToolkit_ROOT} $ENV{CUDA_HOME} ${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT}
                         /usr/local/cuda)
  find_library(LibTorch_TORCH_CUDA_LIBRARY NAMES torch_cuda HINTS ${_libtorch_root}/lib NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY NAMES c10_cuda HINTS ${_libtorch_root}/lib NO_DEFAULT_PATH)
  # The version of the runtime that LibTorch asks the loader for; some builds bring their own as libcudart-<hash>.so.<version>.
  set(LibTorch_CUDA_VERSION_MAJOR "")
  set(_libtorch_cudart "")
  if(LibTorch_C10_CUDA_LIBRARY)
    file(STRINGS "${LibTorch_C10_CUDA_LIBRARY}" _libtorch_cudart LIMIT_COUNT 1 REGEX "^libcudart[-0-9a-z]*\\.so\\.[0-9.]+$")
    string(REGEX REPLACE ".*\\.so\\.([0-9]+).*" "\\1" LibTorch_CUDA_VERSION_MAJOR "${_libtorch_cudart}")
  endif()
  # The first headers of that version; of any if it could not be told.
  set(_libtorch_includes "")
  set(_libtorch_others "")
  list(TRANSFORM _libtorch_toolkits APPEND "/include" OUTPUT_VARIABLE _libtorch_folders)
  list(PREPEND _libtorch_folders "${LibTorch_CUDART_INCLUDE_DIR}")
  list(REMOVE_DUPLICATES _libtorch_folders)
  foreach(_libtorch_folder IN LISTS _libtorch_folders)
    if(EXISTS "${_libtorch_folder}/cuda_runtime_api.h" AND NOT _libtorch_includes)
      get_filename_component(_libtorch_folder "${_libtorch_folder}" REALPATH)
      file(STRINGS "${_libtorch_folder}/cuda_runtime_api.h" _libtorch_major REGEX "define CUDART_VERSION ")
      string(REGEX REPLACE "[^0-9]" "" _libtorch_major "${_libtorch_major}")
      math(EXPR _libtorch_major "${_libtorch_major} / 1000")
      if("${LibTorch_CUDA_VERSION_MAJOR}" MATCHES "^(${_libtorch_major})?$")
        set(LibTorch_CUDA_VERSION_MAJOR ${_libtorch_major})
        set(_libtorch_includes "${_libtorch_folder}")
      else()
        string(APPEND _libtorch_others " ${_libtorch_folder} is of CUDA ${_libtorch_major}.")
      endif()
    endif()
  endforeach()
  set(LibTorch_CUDART_INCLUDE_DIR "${_libtorch_includes}" CACHE PATH "Folder of the CUDA runtime's headers" FORCE)
  # Wheels have no unversioned name.
  find_library(
    LibTorch_CUDART_LIBRARY NAMES ${_libtorch_cudart} libcudart.so.${LibTorch_CUDA_VERSION_MAJOR}
    HINTS ${_libtorch_root} ${_libtorch_toolkits} PATH_SUFFIXES lib lib64 lib/x64 NO_DEFAULT_PATH)
  if(LibTorch_TORCH_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY AND LibTorch_CUDART_LIBRARY AND LibTorch_CUDART_INCLUDE_DIR)
    set(LibTorch_CUDA_FOUND TRUE)
  elseif(LibTorch_FIND_REQUIRED_CUDA AND LibTorch_CPU_LIBRARY AND NOT LibTorch_TORCH_CUDA_LIBRARY)
    set(_libtorch_reason "The LibTorch in ${_libtorch_root} is a CPU build: it has no lib/libtorch_cuda.so")
  elseif(LibTorch_FIND_REQUIRED_CUDA AND LibTorch_TORCH_CUDA_LIBRARY)
    set(_libtorch_reason
        "No CUDA ${LibTorch_CUDA_VERSION_MAJOR} runtime (include/cuda_runtime_api.h and ${_libtorch_cudart}) was found, which the LibTorch in ${_libtorch_root} was linked with.${_libtorch_others} Give -DCUDAToolkit_ROOT=<toolkit>"
    )
  endif()
  mark_as_advanced(LibTorch_TORCH_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY LibTorch_CUDART_INCLUDE_DIR LibTorch_CUDART_LIBRARY)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  HANDLE_COMPONENTS
  REASON_FAILURE_MESSAGE "${_libtorch_reason}")
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
if(LibTorch_FOUND AND LibTorch_CUDA_FOUND AND NOT TARGET LibTorch::CUDA)
  add_library(LibTorch::cudart UNKNOWN IMPORTED)
  set_target_properties(LibTorch::cudart PROPERTIES IMPORTED_LOCATION "${LibTorch_CUDART_LIBRARY}"
                                                    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_CUDART_INCLUDE_DIR}")
  if(IS_DIRECTORY "${LibTorch_CUDART_INCLUDE_DIR}/cccl")
    set_property(TARGET LibTorch::cudart APPEND PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_CUDART_INCLUDE_DIR}/cccl")
  endif()
  add_library(LibTorch::c10_cuda UNKNOWN IMPORTED)
  set_target_properties(LibTorch::c10_cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_CUDA_LIBRARY}")
  add_library(LibTorch::CUDA UNKNOWN IMPORTED)
  set_target_properties(
    LibTorch::CUDA PROPERTIES IMPORTED_LOCATION "${LibTorch_TORCH_CUDA_LIBRARY}"
                              INTERFACE_LINK_LIBRARIES "LibTorch::LibTorch;LibTorch::c10_cuda;LibTorch::cudart")
  # What libtorch_cuda links in turn: else the linker may take the system's older NCCL.
  file(GLOB _libtorch_folders LIST_DIRECTORIES TRUE "${_libtorch_root}/../nvidia/*/lib")
  foreach(_libtorch_folder IN LISTS _libtorch_folders)
    set_property(TARGET LibTorch::CUDA APPEND PROPERTY INTERFACE_LINK_OPTIONS "LINKER:-rpath-link,${_libtorch_folder}")
  endforeach()
endif()
