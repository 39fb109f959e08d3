"""docs/gpu.md shows what the cost model says."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_predictions_are_those_of_the_cost_model():
    program = ROOT / "build" / "bin" / "respeft_gpu_costs"
    if not program.exists():
        pytest.skip("respeft_gpu_costs is not built")
    tables = subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()
    assert tables in (ROOT / "docs" / "gpu.md").read_text(), "docs/gpu.md: replace the predictions by what respeft_gpu_costs prints"
