"""Which CUDA runtime cmake/FindLibTorch.cmake takes: that of the version which the LibTorch was linked with, or none."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(finder NONE)
list(PREPEND CMAKE_MODULE_PATH {root}/cmake)
find_package(LibTorch REQUIRED COMPONENTS CUDA)
message(STATUS "found ${{LibTorch_CUDA_VERSION_MAJOR}} ${{LibTorch_CUDART_INCLUDE_DIR}} ${{LibTorch_CUDART_LIBRARY}}")
"""


def toolkit(folder, version):
    (folder / "include").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "include" / "cuda_runtime_api.h").write_text(f"#define CUDART_VERSION  {version}\n#define __CUDART_API_VERSION CUDART_VERSION\n")
    (folder / "lib" / f"libcudart.so.{version // 1000}").write_bytes(b"")
    return folder


@pytest.fixture
def libtorch(tmp_path):
    """The root of a LibTorch that was linked with CUDA 12, beside packages of CUDA 13."""
    torch = tmp_path / "site-packages" / "torch"
    (torch / "include" / "ATen").mkdir(parents=True)
    (torch / "include" / "ATen" / "ATen.h").write_text("")
    (torch / "lib").mkdir()
    for name in ("torch_cpu", "c10", "torch_cuda"):
        (torch / "lib" / f"lib{name}.so").write_bytes(b"")
    (torch / "lib" / "libc10_cuda.so").write_bytes(b"\x7fELF\0libc10.so\0libcudart.so.12\0libm.so.6\0")
    toolkit(tmp_path / "site-packages" / "nvidia" / "cu13", 13000)
    return torch


def configure(tmp_path, libtorch, *options):
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    (source / "CMakeLists.txt").write_text(PROJECT.format(root=ROOT))
    command = ["cmake", "-G", "Ninja", "-S", source, "-B", tmp_path / "build", f"-DLIBTORCH_ROOT={libtorch}", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_runtime_of_another_version_is_refused(tmp_path, libtorch):
    status, output = configure(tmp_path, libtorch)
    assert status != 0 and "No CUDA 12 runtime" in output and "libcudart.so.12" in output and "is of CUDA 13" in output, output


def test_the_runtime_of_its_version_is_taken(tmp_path, libtorch):
    other = toolkit(tmp_path / "cuda-12", 12080)
    status, output = configure(tmp_path, libtorch, f"-DCUDAToolkit_ROOT={other}")
    assert status == 0 and f"found 12 {other}/include {other}/lib/libcudart.so.12" in output, output


def test_headers_that_were_found_before_are_looked_at_again(tmp_path, libtorch):
    other = toolkit(tmp_path / "cuda-12", 12080)
    wrong = libtorch.parent / "nvidia" / "cu13" / "include"
    status, output = configure(tmp_path, libtorch, f"-DCUDAToolkit_ROOT={other}", f"-DLibTorch_CUDART_INCLUDE_DIR={wrong}")
    assert status == 0 and f"found 12 {other}/include" in output, output


def test_a_runtime_of_its_own_is_taken(tmp_path, libtorch):
    """The archives from pytorch.org have one in lib/, with a hash in its name."""
    own = "libcudart-218eec4c.so.12"
    (libtorch / "lib" / "libc10_cuda.so").write_bytes(b"\x7fELF\0" + own.encode() + b"\0libc10.so\0")
    (libtorch / "lib" / own).write_bytes(b"")
    other = toolkit(tmp_path / "cuda-12", 12080)
    status, output = configure(tmp_path, libtorch, f"-DCUDAToolkit_ROOT={other}")
    assert status == 0 and f"found 12 {other}/include {libtorch}/lib/{own}" in output, output


def test_a_runtime_inside_leaves_the_version_to_the_headers(tmp_path, libtorch):
    (libtorch / "lib" / "libc10_cuda.so").write_bytes(b"\x7fELF\0libc10.so\0")
    status, output = configure(tmp_path, libtorch)
    assert status == 0 and "found 13 " in output, output
