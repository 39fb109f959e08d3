# The PTX interpreter, a function that compiles kernels for it, and its tests. Included by CMakeLists.txt; needs respeft_emulator.

if(CMAKE_CUDA_COMPILER)
  set(RESPEFT_NVCC ${CMAKE_CUDA_COMPILER} CACHE FILEPATH "CUDA's compiler, for the tests of PTX" FORCE)
else()
  file(GLOB nvcc_of_wheels ${CMAKE_CURRENT_LIST_DIR}/../../.venv/lib/python3*/site-packages/nvidia/cu*/bin)
  find_program(RESPEFT_NVCC nvcc HINTS ${nvcc_of_wheels} $ENV{CUDA_HOME}/bin PATHS /usr/local/cuda/bin DOC "CUDA's compiler, for the tests of PTX")
endif()

add_library(
  respeft_ptx STATIC ptx.cpp ptx_arithmetic.cpp ptx_control.cpp ptx_conversion.cpp ptx_decoder.cpp ptx_memory.cpp ptx_parser.cpp)
target_compile_options(respeft_ptx PRIVATE -O2)
target_link_libraries(respeft_ptx PUBLIC respeft_emulator)

# compile_to_ptx(<target> <source> <macro>): the source as PTX for compute capability 8.0, its path in the target's macro.
function(compile_to_ptx target source macro)
  get_filename_component(source ${source} ABSOLUTE)
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(root ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../.. ABSOLUTE)
  set(ptx ${CMAKE_CURRENT_BINARY_DIR}/${name}.ptx)
  add_custom_command(
    OUTPUT ${ptx}
    COMMAND ${RESPEFT_NVCC} -std=c++20 -arch=sm_80 -lineinfo -I${root} -ptx ${source} -o ${ptx} -MD -MF ${ptx}.d
    DEPENDS ${source}
    DEPFILE ${ptx}.d
    COMMENT "Compiling ${name}.cu to PTX"
    VERBATIM)
  target_sources(${target} PRIVATE ${ptx})
  target_compile_definitions(${target} PRIVATE ${macro}="${ptx}")
endfunction()

if(RESPEFT_NVCC)
  add_executable(ptx_test ptx_test.cpp)
  compile_to_ptx(ptx_test ptx_samples.cu PTX_SAMPLES)
  target_compile_options(ptx_test PRIVATE -Wno-unknown-pragmas)
  target_link_libraries(ptx_test PRIVATE respeft_ptx GTest::gtest_main)
  add_test(NAME ptx COMMAND ptx_test)
else()
  message(STATUS "Tests of PTX: skipped, no nvcc found (set RESPEFT_NVCC)")
endif()
