"""Small runs of every method come to the recorded figures, and files of version 0.1.0 stay readable (tests/golden)."""

import json
import pathlib
import shutil
import sys

import numpy
import pytest
from conftest import built
from safetensors.numpy import load_file

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
import golden_runs as golden  # noqa: E402

FIGURES = json.loads((GOLDEN / "figures.json").read_text())


def program():
    return built("RESPEFT_PROGRAM", "bin/respeft")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden")
    golden.make_inputs(path)
    return path


def close(now, recorded, tolerance):
    """Largest difference, relative to the largest recorded magnitude, is below the tolerance."""
    now, recorded = numpy.asarray(now), numpy.asarray(recorded)
    assert now.shape == recorded.shape
    return numpy.abs(now - recorded).max() <= tolerance * max(numpy.abs(recorded).max(), 1e-6)


@pytest.mark.parametrize("name", golden.RUNS)
def test_run(folder, name):
    """Sums in another order (other processors, other LibTorch builds) move the last bits, which two epochs of steps amplify."""
    golden.train(program(), folder, name)
    now, recorded = golden.figures(program(), folder, name), FIGURES[name]
    tolerance = 2e-2 if "bfloat16" in golden.RUNS[name] else 2e-3
    assert len(now["epochs"]) == len(recorded["epochs"])
    for epoch, known in zip(now["epochs"], recorded["epochs"]):
        assert epoch.keys() >= known.keys()
        for key, value in known.items():
            if key.endswith("_loss") or key == "lr":
                assert close(epoch[key], value, tolerance), (key, epoch[key], value)
            elif key in ("epoch", "split") or key.endswith("_images"):
                assert epoch[key] == value
    assert close(now["adapter"], recorded["adapter"], tolerance)
    assert close(now["logits"], recorded["logits"], tolerance)
    assert close(now["merged"], recorded["merged"], tolerance)


def kept(folder, name):
    """A run directory of version 0.1.0, put into FOLDER as if it had been trained there."""
    place = folder / f"kept-{name}"
    shutil.copytree(GOLDEN / name, place)
    for file in place.rglob("*"):
        if file.suffix in (".toml", ".json"):
            text = file.read_text().replace(f"@FOLDER@/{name}", str(place)).replace("@FOLDER@", str(folder))
            file.write_text(text)
    return place


@pytest.mark.parametrize("name", golden.KEPT)
def test_files_of_version_0_1_0(folder, name):
    place = kept(folder, name)
    logits = golden.predict(program(), folder, "--run", place.name)
    assert close(logits, FIGURES[name]["logits"], 1e-4)
    golden.respeft(program(), "train", "--resume", "--out", place.name, "--epochs", 3, cwd=folder)
    epochs = [json.loads(line)["epoch"] for line in (place / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]
    assert load_file(place / "adapter.safetensors").keys() == load_file(GOLDEN / name / "adapter.safetensors").keys()
