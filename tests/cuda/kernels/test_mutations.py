"""Bugs planted in the kernels, one at a time (mutations.toml): the tests on the emulator must report each. What they say of the
correct kernels is for source_test and ptx_test."""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
BUILD = pathlib.Path(os.environ.get("RESPEFT_BUILD", ROOT / "build"))
MUTATIONS = tomllib.loads((HERE / "mutations.toml").read_text())


def cache_value(name):
    """A variable of CMake's cache."""
    cache = BUILD / "CMakeCache.txt"
    if not cache.exists():
        pytest.skip(f"there is no build in {BUILD}")
    found = re.search(rf"^{name}:\w+=(.+)$", cache.read_text(), re.M)
    return found and found[1]


@functools.cache
def emulator():
    """The objects that a checked program is linked with."""
    if not cache_value("RESPEFT_CUDA_HEADERS"):
        pytest.skip("CUDA's headers were not found when the build was configured")
    hooks = list(BUILD.glob("tests/emulator/**/hooks.cpp.o"))
    library = BUILD / "tests" / "emulator" / "librespeft_emulator.a"
    if not library.exists() or not hooks:
        pytest.skip(f"the emulator is not built in {BUILD}")
    return [str(hooks[0]), str(library)]


def compile_tests(folder, kernels):
    """source_test.cpp, in bfloat16, against a copy of cuda/."""
    program = folder / "mutated"
    include = ["-I", ROOT / "tests" / "emulator" / "shim", "-I", kernels, "-I", ROOT, "-isystem", cache_value("RESPEFT_CUDA_HEADERS")]
    flags = ["-std=c++20", "-O1", "-g", "-w", "-fno-strict-aliasing", "-include", "cuda_on_host.h", "-fsanitize=thread"]
    compiler = cache_value("CMAKE_CXX_COMPILER")
    source, compiled = HERE / "source_test.cpp", folder / "test.o"
    subprocess.run([compiler, *flags, "-DRESPEFT_TEST_PRECISIONS=BFloat16", *include, "-c", source, "-o", compiled], check=True)
    subprocess.run([compiler, compiled, *emulator(), "-lgtest", "-lgtest_main", "-ldl", "-lpthread", "-o", program], check=True)
    return program


def run_mutation(folder, mutation):
    """What the tests say of the kernels with one planted bug."""
    shutil.copytree(ROOT / "cuda", folder / "cuda")
    file = folder / "cuda" / mutation["file"]
    text = file.read_text()
    assert text.count(mutation["old"]) == 1, "the text to replace must stand once in the file"
    file.write_text(text.replace(mutation["old"], mutation["new"]))
    program = compile_tests(folder, folder)
    return subprocess.run([program, f"--gtest_filter=*.{mutation['tests']}"], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_reported(name, tmp_path):
    run = run_mutation(tmp_path, MUTATIONS[name])
    assert run.returncode != 0, "the tests pass with the planted bug"
    assert re.search(MUTATIONS[name]["report"], run.stdout), run.stdout[:2000]
