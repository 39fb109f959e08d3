"""scripts/kernel_resources: the library's kernels keep to cuda/limits.toml, and the check notices what does not."""

import copy
import math
import pathlib
import subprocess

import cuda_binary
import kernel_resources
import pytest


@pytest.fixture(scope="module")
def measured(library):
    rows, faults = kernel_resources.measure(library)
    assert rows and not faults
    return rows


def test_the_library_keeps_to_its_limits(library):
    rows, faults, missing = kernel_resources.check(library)
    assert rows and not faults and not missing, "\n".join(faults)


def test_each_limit_is_noticed(measured):
    row = next(row for row in measured if row["launch"])
    exact = {"registers": row["usage"].registers, "shared_bytes": row["shared"], "blocks": row["blocks"]}
    assert kernel_resources.faults_of(row, exact) == []
    assert "registers" in kernel_resources.faults_of(row, exact | {"registers": exact["registers"] - 1})[0]
    assert "blocks" in kernel_resources.faults_of(row, exact | {"blocks": exact["blocks"] + 1})[0]
    shared = copy.deepcopy(row) | {"shared": row["shared"] + 1}
    assert "shared" in kernel_resources.faults_of(shared, exact)[0]
    spilled = copy.deepcopy(row)
    spilled["usage"].local = 8
    assert "local memory" in kernel_resources.faults_of(spilled, exact)[0]
    assert "nothing launches it" in kernel_resources.faults_of(row | {"launch": None}, exact)[0]


def test_entries_and_kernels_must_fit_each_other(tmp_path, library, measured):
    kernels = sorted({row["kernel"] for row in measured})
    generous = 'registers = 255\nshared_bytes = 300000\nblocks = 0\n'
    table = tmp_path / "limits.toml"

    def faults(*names):
        table.write_text("".join(f'[[kernel]]\nname = "{name}"\n{generous}' for name in names))
        return "\n".join(kernel_resources.check(library, table)[1])

    assert faults(*kernels) == ""
    assert f"{kernels[0]} has no entry" in faults(*kernels[1:], "no_such_kernel")
    assert "no kernel is called no_such_kernel" in faults(*kernels, "no_such_kernel")
    assert f"{kernels[0]} has several entries" in faults(*kernels, kernels[0].split("<")[0] + "*")


def test_names_are_short():
    name = "void respeft::cuda::product<respeft::cuda::BFloat16, 64, (int)128, (bool)1>(int, void (*)(long))"
    assert cuda_binary.short_name(name) == "product<BFloat16, 64, 128, 1>"
    assert cuda_binary.short_name("plain(float*, (anonymous namespace)::T<1>)") == "plain"


def test_static_shared_memory_is_the_kernels_alone(compiled):
    """From compute capability 9.0 on, the machine code's figure holds what the system reserves too."""
    source = """__global__ void turn(float* x) {
      __shared__ float held[64];
      held[threadIdx.x] = x[threadIdx.x];
      __syncthreads();
      x[threadIdx.x] = held[63 - threadIdx.x];
    }"""
    for arch in ("sm_80", "sm_90", "sm_120"):
        done, binary = compiled(source, arch=arch)
        assert done.returncode == 0, done.stderr
        assert cuda_binary.resources(binary)["turn", arch].static_shared == 256


def test_every_launch_is_one_that_cuda_takes(library):
    """At a usual size and at a great one: what the grid and the block may be, and that shared memory was asked for."""
    for launch in cuda_binary.recorded_launches(library.parents[1] / "bin" / "respeft_cuda_launches"):
        assert launch["shared_granted"], launch
        assert all(0 < n <= most for n, most in zip(launch["grid"], (2**31 - 1, 65535, 65535))), launch
        assert 0 < math.prod(launch["block"]) <= 1024 and launch["block"][2] <= 64, launch


CALCULATOR = """
#include <cstddef>
#include <cuda_occupancy.h>
#include <cstdio>
int main() {
  cudaOccDeviceProp device;
  device.maxThreadsPerBlock = 1024;
  device.regsPerBlock = device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 << 10;
  device.reservedSharedMemPerBlock = 1 << 10;
  device.numSms = 1;
  cudaOccDeviceState state;
  state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
  int warps, registers, threads;
  size_t shared;
  while (std::scanf("%d %d %d %zu %zu %d %zu %d", &device.computeMajor, &device.computeMinor, &warps, &device.sharedMemPerMultiprocessor,
                    &device.sharedMemPerBlockOptin, &registers, &shared, &threads) == 8) {
    device.maxThreadsPerMultiprocessor = 32 * warps;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = 0;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = device.sharedMemPerBlockOptin;
    kernel.numBlockBarriers = 1;
    cudaOccResult result;
    const auto status = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, shared);
    std::printf("%d\\n", status == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -1);
  }
}
"""


def test_occupancy_is_what_cudas_own_calculator_says(tmp_path):
    include = next(pathlib.Path(cuda_binary.tool("nvcc")).parents[1].glob("include"))
    (tmp_path / "calculator.cpp").write_text(CALCULATOR)
    subprocess.run(["g++", "-w", "-std=c++20", f"-I{include}", "-o", tmp_path / "calculator", tmp_path / "calculator.cpp"], check=True)
    cases = [
        (arch, registers, shared, threads)
        for arch in cuda_binary.MULTIPROCESSORS
        for registers in (16, 31, 32, 40, 63, 72, 96, 128, 129, 168, 200, 255)
        for shared in (0, 1, 1024, 17408, 33 << 10, 48 << 10, 56448, 65000, 99 << 10, 163 << 10, 227 << 10)
        for threads in (32, 96, 128, 256, 384, 512, 1024)
        if shared <= cuda_binary.MULTIPROCESSORS[arch].shared_per_block
    ]

    def line(arch, registers, shared, threads):
        limits = cuda_binary.MULTIPROCESSORS[arch]
        major, minor = divmod(int(arch.removeprefix("sm_")), 10)
        return f"{major} {minor} {limits.warps} {limits.shared} {limits.shared_per_block} {registers} {shared} {threads}"

    done = subprocess.run([tmp_path / "calculator"], input="\n".join(line(*c) for c in cases), capture_output=True, text=True, check=True)
    theirs = [int(n) for n in done.stdout.split()]
    assert len(theirs) == len(cases) and max(theirs) > 8 and min(theirs) == 0
    different = [(*c, n) for c, n in zip(cases, theirs) if cuda_binary.blocks_per_multiprocessor(*c) != n]
    assert not different, different[:10]


def test_what_no_multiprocessor_holds_has_no_blocks():
    assert cuda_binary.blocks_per_multiprocessor("sm_80", 16, (163 << 10) + 1, 32) == 0
    assert cuda_binary.blocks_per_multiprocessor("sm_120", 16, 100 << 10, 32) == 0
