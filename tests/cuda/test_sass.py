"""The machine code of every kernel for every architecture against sass.toml beside this file: whether the tensor cores do the work of
its main loop, whether its memory is read 16 bytes at a time and past the registers, and that nothing goes to local memory."""

import pathlib

import pytest
from cuda_binary import loops, machine_code as read_machine_code, matched, read_table

EXPECTATIONS = pathlib.Path(__file__).with_name("sass.toml")
# What an entry may ask for: at least so many of these in the main loop.
MATH = {"tensor_bf16": ("HMMA.16816.F32.BF16",), "tensor_f16": ("HMMA.16816.F32",), "tensor_tf32": ("HMMA.1688.F32.TF32",), "fma": ("FFMA",)}
TENSOR_CORES = ("HMMA", "IMMA", "DMMA", "QMMA", "OMMA", "HGMMA", "QGMMA", "UTCHMMA", "UTCQMMA")
MEMORY = {
    "async_16_byte_copies": ("LDGSTS.128",),
    "16_byte_loads": ("LDG.128",),
    "16_byte_stores": ("STG.128",),
    "matrix_loads": ("LDSM",),
}


def count(code, patterns):
    return sum(instruction.is_one_of(*patterns) for instruction in code)


def is_math(instruction, kind):
    if kind == "tensor_f16" and "BF16" in instruction.opcode.split("."):
        return False
    return instruction.is_one_of(*MATH[kind])


def main_loop(code, kind):
    """The loop that holds the most math itself, not in loops within it; and the loops around it, the innermost first."""
    found = [(sum(is_math(i, kind) for i in loop.own), loop) for loop in loops(code)]
    most, main = max(found, key=lambda pair: pair[0], default=(0, None))
    if most == 0:
        return None, []
    return main, sorted((loop for _, loop in found if loop.blocks > main.blocks), key=lambda loop: len(loop.blocks))


def faults_of(code, expected):
    """What is wrong with one kernel's code."""
    faults = []
    if local := [i for i in code if i.is_one_of("LDL", "STL")]:
        faults.append(f"{len(local)} instructions on local memory, the first at {local[0].address:#x}: {local[0].opcode}")
    wanted = {key: value for key, value in expected.items() if key not in ("name", "everywhere", "no_tensor_cores")}
    for key in list(wanted):
        if key not in MATH and key not in MEMORY:
            faults.append(f"sass.toml asks for {key}, and there is no such key")
            del wanted[key]
    if expected.get("no_tensor_cores") and (used := count(code, TENSOR_CORES)):
        faults.append(f"{used} tensor-core instructions, and none was wanted")
    for key, least in expected.get("everywhere", {}).items():
        if (there := count(code, MEMORY[key])) < least:
            faults.append(f"{there} × {key} in the kernel, and at least {least} are wanted")
    kinds = [key for key in wanted if key in MATH]
    for kind in kinds:
        main, around = main_loop(code, kind)
        if main is None:
            faults.append(f"no loop has {' or '.join(MATH[kind])} in it")
            continue
        if (there := sum(is_math(i, kind) for i in main.own)) < wanted[kind]:
            faults.append(f"{there} × {kind} in the main loop, and at least {wanted[kind]} are wanted")
        for key in (key for key in wanted if key in MEMORY):
            # In the main loop, or in the innermost loop around it that has any: steps of a pipeline around steps of the contraction.
            there = next((n for loop in [main, *around] if (n := count(loop.code, MEMORY[key]))), 0)
            if there < wanted[key]:
                faults.append(f"{there} × {key} in the main loop, and at least {wanted[key]} are wanted")
    if not kinds and (unplaced := [key for key in wanted if key in MEMORY]):
        faults.append(f"sass.toml asks for {', '.join(unplaced)} in the main loop and does not say what math it has: see 'everywhere'")
    return faults


def test_every_kernel_has_one_expectation(machine_code):
    assert machine_code, "the library holds no machine code"
    _, faults = matched(read_table(EXPECTATIONS), {kernel for kernel, _ in machine_code}, EXPECTATIONS.name)
    assert not faults, "\n".join(faults)


def test_all_architectures_have_the_same_kernels(machine_code):
    architectures = {arch for _, arch in machine_code}
    assert {"sm_80", "sm_86", "sm_90", "sm_100", "sm_120"} <= architectures
    missing = [(kernel, arch) for kernel, _ in machine_code for arch in architectures if (kernel, arch) not in machine_code]
    assert not missing


def test_kernels_are_what_is_expected(machine_code):
    expected, _ = matched(read_table(EXPECTATIONS), {kernel for kernel, _ in machine_code}, EXPECTATIONS.name)
    assert expected
    faults = [
        f"{kernel}, {arch}: {fault}"
        for (kernel, arch), code in sorted(machine_code.items())
        if kernel in expected
        for fault in faults_of(code, expected[kernel])
    ]
    assert not faults, "\n".join(faults)


# --- That the checks above can fail ----------------------------------------------------------------------------------------------

PLAIN = """
__global__ void product(const float* a, const float* b, float* c, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i * 32 + threadIdx.x] * b[i];
  c[threadIdx.x] = sum;
}
"""
TENSOR = """
#include "cuda/ptx.cuh"
__global__ void product(const uint4* a, const uint2* b, float* c, int n, int once) {
  __shared__ uint4 held[2][32];
  float sums[4] = {};
  for (int i = 0; i < n; ++i) {
    COPY
    uint32_t left[4] = {held[i % 2][threadIdx.x].x, held[i % 2][threadIdx.x].y, held[i % 2][threadIdx.x].z, held[i % 2][threadIdx.x].w};
    uint32_t right[2] = {b[i].x, b[i].y};
    respeft::cuda::ptx::MULTIPLY(sums, left, right);
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) c[threadIdx.x * 4 + i] = sums[i];
}
"""
ASYNC = "respeft::cuda::ptx::copy_async(&held[i % 2][threadIdx.x], a + i * 32 + threadIdx.x, 16); respeft::cuda::ptx::wait_for_copies<0>();"
THROUGH_REGISTERS = "held[i % 2][threadIdx.x] = a[i * 32 + threadIdx.x];"
BEFORE_THE_LOOP = "if (i < 0) " + ASYNC  # never, and the compiler knows
LOCAL = """
__global__ void product(const float* a, const int* at, float* c, int n) {
  float held[64];
  for (int i = 0; i < 64; ++i) held[i] = a[i * 32 + threadIdx.x];
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += held[at[i]] * a[i];
  c[threadIdx.x] = sum;
}
"""
SPILLING = """
__global__ void __launch_bounds__(1024, 2) product(float* x, int n) {
  float held[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) held[i] = x[i * 7 + threadIdx.x];
  for (int k = 0; k < n; ++k)
#pragma unroll
    for (int i = 0; i < 64; ++i) held[i] = held[i] * held[(i * 5 + 1) % 64] + x[k];
#pragma unroll
  for (int i = 0; i < 64; ++i) x[i * 7 + threadIdx.x] = held[i];
}
"""


def tensor(copy=ASYNC, multiply="multiply_bf16"):
    return TENSOR.replace("COPY", copy).replace("MULTIPLY", multiply)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize(
    "source, expected, fault",
    [
        (PLAIN, {"fma": 1, "no_tensor_cores": True}, None),
        (PLAIN, {"tensor_bf16": 1}, "no loop has HMMA.16816.F32.BF16 in it"),
        (PLAIN, {"fma": 1000}, "× fma in the main loop, and at least 1000 are wanted"),
        (tensor(), {"tensor_bf16": 1, "async_16_byte_copies": 1}, None),
        (tensor(multiply="multiply_half"), {"tensor_f16": 1, "async_16_byte_copies": 1}, None),
        (tensor(multiply="multiply_half"), {"tensor_bf16": 1}, "no loop has HMMA.16816.F32.BF16 in it"),
        (tensor(), {"tensor_f16": 1}, "no loop has HMMA.16816.F32 in it"),
        (tensor(), {"fma": 0, "no_tensor_cores": True}, "tensor-core instructions, and none was wanted"),
        (tensor(THROUGH_REGISTERS), {"tensor_bf16": 1, "16_byte_loads": 1}, None),
        (tensor(THROUGH_REGISTERS), {"tensor_bf16": 1, "async_16_byte_copies": 1}, "0 × async_16_byte_copies in the main loop"),
        (tensor(BEFORE_THE_LOOP), {"tensor_bf16": 1, "async_16_byte_copies": 1}, "0 × async_16_byte_copies in the main loop"),
        (LOCAL, {"fma": 1}, "instructions on local memory"),
        (SPILLING, {"fma": 1}, "instructions on local memory"),
    ],
)
def test_the_check_tells_kernels_apart(compiled, source, expected, fault, arch):
    done, binary = compiled(source, arch=arch)
    assert done.returncode == 0, done.stderr
    ((_, code),) = read_machine_code(binary).items()
    faults = faults_of(code, expected)
    assert any(fault in text for text in faults) if fault else not faults, faults


def test_a_loop_is_found_whole_and_its_inner_loops_apart(compiled):
    done, binary = compiled(
        """__global__ void nested(const float* a, const float4* b, float* c, int n, int m) {
             for (int i = 0; i < n; ++i) {
               float sum = b[i * 32 + threadIdx.x].x * b[i * 32 + threadIdx.x].w + b[i * 32 + threadIdx.x].z;
               __syncthreads();
#pragma unroll 1
               for (int j = 0; j < m; ++j) sum = sum * a[j] + 1.0f;
               c[i * 32 + threadIdx.x] = sum;
             }
           }"""
    )
    assert done.returncode == 0, done.stderr
    ((_, code),) = read_machine_code(binary).items()
    outer, inner = loops(code)
    assert inner.blocks < outer.blocks
    assert count(inner.code, ["FFMA"]) == 1 and count(inner.code, ["STG"]) == 0 and inner.own == inner.code
    assert count(outer.own, ["STG"]) == 1 and count(outer.code, ["FFMA"]) == 2 and count(outer.own, ["FFMA"]) == 1


@pytest.mark.parametrize("source, fault", [(SPILLING, "Registers are spilled"), (LOCAL, "Local memory used")])
def test_spills_and_local_memory_fail_the_build(compiled, source, fault):
    build = (pathlib.Path(__file__).parents[2] / "src" / "CMakeLists.txt").read_text()
    flags = "-Xptxas=-warn-spills,-warn-lmem-usage,-Werror"
    assert flags in build
    done, binary = compiled(source, flags)
    assert done.returncode != 0 and fault in done.stderr and not binary.exists()
