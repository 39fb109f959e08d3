"""The library with the CUDA kernels, as Python loads it on a machine that may have no GPU."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import torch

OPS = [
    "rescaled_linear",
    "rescaled_linear_backward",
    "shortcut_linear",
    "shortcut_linear_backward",
    "folded_linear",
    "folded_linear_backward",
]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def ops(library):
    """Only the CUDA library is named: it brings the other along."""
    torch.ops.load_library(str(library))
    return torch.ops.respeft


@pytest.mark.parametrize("op", OPS)
def test_every_operator_has_a_cuda_kernel(ops, op):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"respeft::{op}", "CUDA")


@pytest.mark.parametrize("op", OPS)
def test_no_operator_was_forgotten(ops, op):
    """Every operator of ours that computes on the CPU is in the list above."""
    ours = {name.removeprefix("respeft::") for name in torch._C._dispatch_get_all_op_names() if name.startswith("respeft::")}
    computing = {name.split(".")[0] for name in ours if torch._C._dispatch_has_kernel_for_dispatch_key(f"respeft::{name}", "CPU")}
    assert op in computing and computing <= set(OPS)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("residual", [True, False])
def test_the_cpu_still_computes(ops, groups, residual):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 7, 16), torch.randn(24, 16), torch.randn(24)
    scale_in, scale_out = torch.randn(groups, 16), torch.randn(24)
    scale = residual + (scale_out.view(groups, -1, 1) * scale_in.unsqueeze(1)).flatten(0, 1)
    expected = torch.nn.functional.linear(x, weight * scale, bias)
    ours = ops.rescaled_linear(x, weight, bias, scale_in if groups > 1 else scale_in[0], scale_out, residual)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@without_gpu
def test_a_device_that_is_not_there_is_named(ops):
    with pytest.raises((RuntimeError, AssertionError), match="(?i)NVIDIA driver|no CUDA(-capable)? (GPUs|device)"):
        x = torch.ones(2, 16, device="cuda")
        ops.rescaled_linear(x, x, None, x[0], x[:, 0])


def test_a_fresh_process_loads_the_cuda_library_alone(library):
    """Nothing of another test's loading helps here: the libraries beside it and LibTorch's are found by what it says itself."""
    program = f"import torch; torch.ops.load_library({str(library)!r}); print(torch.ops.respeft.rescaled_linear)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0 and "rescaled_linear" in done.stdout, done.stderr


def called(obj):
    """What an object file calls and does not define."""
    listed = subprocess.run(["nm", "--undefined-only", "-C", obj], capture_output=True, text=True, check=True).stdout
    return {line.split(maxsplit=1)[1] for line in listed.splitlines()}


def test_a_graph_can_hold_the_operators(library):
    """Neither the operators nor the kernels' launchers wait for the device or allocate beside ATen: they cannot, with what they call."""
    built = pathlib.Path(os.environ.get("RESPEFT_BUILD", library.parents[1])) / "src" / "CMakeFiles"
    operators = list(built.glob("respeft_cuda.dir/ops/cuda/*.cpp.o"))
    launchers = list(built.glob("respeft_cuda_kernels.dir/**/*.cu.o"))
    assert {"rescaled_linear.cpp.o", "shortcut.cpp.o"} <= {o.name for o in operators} and len(launchers) == 2
    for obj in operators:
        waits = {name for name in called(obj) if re.search(r"\bitem\b|_local_scalar_dense|nonzero|::cpu\b", name)}
        runtime = {name for name in called(obj) if re.match(r"cuda[A-Z]\w*$|(c10|at)::cuda::", name)}
        assert not waits and (not runtime or obj.name == "device.cpp.o"), (obj.name, waits, runtime)
    for obj in launchers:
        runtime = {name for name in called(obj) if re.match(r"cuda[A-Z]\w*$", name)}
        assert runtime == {"cudaFuncSetAttribute", "cudaLaunchKernel"}, (obj.name, runtime)
