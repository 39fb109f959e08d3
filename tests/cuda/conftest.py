"""What the tests here share: the CUDA library under test, and small ones compiled on the spot. No GPU is needed."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import cuda_binary  # noqa: E402


@pytest.fixture(scope="session")
def library():
    """The path of the library; $RESPEFT_CUDA_LIBRARY names another."""
    path = pathlib.Path(os.environ.get("RESPEFT_CUDA_LIBRARY", ROOT / "build" / "src" / "librespeft_cuda.so")).resolve()
    if not path.exists():
        pytest.exit(f"{path} is not there: run scripts/build, or set RESPEFT_CUDA_LIBRARY", returncode=2)
    return path


@pytest.fixture(scope="session")
def machine_code(library):
    return cuda_binary.machine_code(library)


@pytest.fixture
def compiled(tmp_path):
    """Compiles CUDA C++ to an object for one architecture, as a finished process and the object's path."""

    def compile(source, *flags, arch="sm_80"):
        file, binary = tmp_path / "planted.cu", tmp_path / "planted.o"
        file.write_text(source)
        command = [cuda_binary.tool("nvcc"), "-std=c++20", "-O3", f"-I{ROOT}", f"-arch={arch}", "-c", "-o", binary, *flags, file]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True), binary

    return compile
