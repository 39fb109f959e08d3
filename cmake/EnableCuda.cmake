# Turns on the CUDA language for RESPEFT_CUDA: which nvcc, and what it compiles for.
#
# The nvcc of the checkout's .venv, where scripts/setup puts it, comes before one on PATH: how many registers a kernel takes depends
# on the compiler's version. -DCMAKE_CUDA_COMPILER or the environment's CUDACXX name another.

if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")
  file(GLOB _cuda_venv "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia/cu*/bin")
  find_program(
    CMAKE_CUDA_COMPILER nvcc
    HINTS ${_cuda_venv}
    PATHS ${CUDAToolkit_ROOT}/bin $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "RESPEFT_CUDA is ON and there is no nvcc. Run scripts/setup, which installs one beside its own LibTorch, give "
                        "-DCMAKE_CUDA_COMPILER=<nvcc>, or leave the CUDA kernels out with -DRESPEFT_CUDA=OFF.")
  endif()
endif()

# Machine code for the GPUs with 16-bit tensor cores that can be bought or rented: A100; RTX 30 and, of the same major version,
# RTX 40 and L4; H100; B200; RTX 50. The PTX of 8.0 is for the others, and compiled when it is loaded.
set(CMAKE_CUDA_ARCHITECTURES "80;86-real;90-real;100-real;120-real" CACHE STRING "GPU architectures to compile the CUDA kernels for")
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY None) # the one that LibTorch uses is linked, see LibTorch::cudart
if(NOT CMAKE_CUDA_HOST_COMPILER AND "$ENV{CUDAHOSTCXX}" STREQUAL "")
  set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  message(FATAL_ERROR "RESPEFT_CUDA needs nvcc 12.8 or newer, and ${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
