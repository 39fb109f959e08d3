"""The installed package with the CUDA library, from a user's CMake project."""

import os
import pathlib
import shutil
import subprocess

import pytest
import torch

HERE = pathlib.Path(__file__).parent
LIBTORCH = pathlib.Path(torch.__file__).parent


def run(*command, fails=False, **options):
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment, **options)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def package(library, tmp_path_factory):
    """The prefix of an installation."""
    build, prefix = library.parents[1], tmp_path_factory.mktemp("package")
    assert (build / "CMakeCache.txt").exists(), f"{library} does not lie in a build folder"
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


def configure(folder, prefix, libtorch, **options):
    return run("cmake", "-S", HERE / "consumer", "-B", folder, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix};{libtorch}", **options)


def test_a_program_that_links_it_loads_it(package, tmp_path):
    configure(tmp_path, package, LIBTORCH)
    run("cmake", "--build", tmp_path)
    assert "has a CUDA kernel" in run(tmp_path / "consumer")


def test_the_installed_library_finds_the_other_beside_it(package):
    (installed,) = {path.resolve() for path in package.rglob("librespeft_cuda.so*")}
    dynamic = run("readelf", "-d", installed)
    assert "[$ORIGIN]" in dynamic and "Shared library: [librespeft.so" in dynamic and "Shared library: [libtorch_cuda.so]" in dynamic


def test_the_main_library_and_program_need_no_cuda(package):
    for name in ("librespeft.so", "respeft"):
        (path,) = {path.resolve() for path in package.rglob(name) if path.is_file()}
        needed = [line for line in run("readelf", "-d", path).splitlines() if "NEEDED" in line]
        assert needed and not any("cuda" in line for line in needed), name


def test_a_libtorch_without_cuda_is_named(package, tmp_path):
    """Without the component the package is found as ever; with it, the message says what is missing."""
    libtorch = tmp_path / "libtorch"
    (libtorch / "lib").mkdir(parents=True)
    (libtorch / "include").symlink_to(LIBTORCH / "include")
    for name in ("libtorch_cpu.so", "libc10.so"):
        (libtorch / "lib" / name).symlink_to(LIBTORCH / "lib" / name)
    assert "is a CPU build" in " ".join(configure(tmp_path / "cuda", package, libtorch, fails=True).split())
    plain = tmp_path / "plain"
    shutil.copytree(HERE / "consumer", plain)
    lists = (plain / "CMakeLists.txt").read_text()
    (plain / "CMakeLists.txt").write_text(lists.replace(" COMPONENTS cuda", "").replace("respeft::cuda", "respeft::respeft"))
    run("cmake", "-S", plain, "-B", plain / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={package};{libtorch}")
