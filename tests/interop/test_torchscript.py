"""An exported file is on its own: plain PyTorch loads it and computes what timm's model computes."""

import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from conftest import assert_close
from timm_rlrr import adapt

# Runs in a process that has not loaded the library.
LOADER = """
import json, sys
import safetensors.torch, torch
path, pixels, out = sys.argv[1:]
extra = {"preprocessing.json": "", "class_names.json": ""}
module = torch.jit.load(path, _extra_files=extra)
names = {node.kind() for node in module.inlined_graph.nodes()}
with torch.inference_mode():
    pixels = safetensors.torch.load_file(pixels)["pixels"]
    logits = {"all": module(pixels), "one": module(pixels[:1])}
safetensors.torch.save_file(logits, out)
print(json.dumps({"kinds": sorted(names), "preprocessing": json.loads(extra["preprocessing.json"])}))
"""


@pytest.mark.parametrize("name, size", [("vit_tiny_patch16_224", 96), ("vit_small_patch14_reg4_dinov2", 56)])
def test_exported_model_equals_timms(case, program, tmp_path, name, size):
    model = case(name, weights_size=size, num_classes=10)
    trained = adapt(model.model)
    adapter = model.save_adapter(tmp_path / "adapter.safetensors", "rlrr", {}, trained)
    exported, out = tmp_path / "model.pt", tmp_path / "out.safetensors"
    program("export", "--format", "torchscript", *model.arguments(), "--adapter", adapter, "--out", exported)

    done = subprocess.run(
        [sys.executable, "-c", LOADER, exported, model.pixels_file, out], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    logits = safetensors.torch.load_file(out)
    assert_close(logits["all"], model.logits(), 3e-5)
    assert_close(logits["one"], model.logits()[:1], 3e-5)
    told = json.loads(done.stdout)
    assert told["preprocessing"]["size"] == size
    assert all(kind.split("::")[0] in ("aten", "prim") for kind in told["kinds"]), told["kinds"]


def test_program_runs_what_it_exported(case, program, tmp_path):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=10)
    exported, out = tmp_path / "model.pt", tmp_path / "logits.safetensors"
    program("export", "--format", "torchscript", *model.arguments(), "--out", exported)
    program("predict", "--torchscript", exported, "--pixels", model.pixels_file, "--logits", out)
    assert_close(safetensors.torch.load_file(out)["logits"], model.logits(), 3e-5)


def test_timm_loads_what_was_exported_for_it(case, program, tmp_path):
    import timm

    model = case("vit_small_patch14_dinov2", image_size=56, num_classes=10)
    trained = adapt(model.model)
    adapter = model.save_adapter(tmp_path / "adapter.safetensors", "rlrr", {}, trained)
    exported = tmp_path / "timm.safetensors"
    program("export", "--format", "timm", *model.arguments(), "--adapter", adapter, "--out", exported)
    plain = timm.create_model(model.name, num_classes=10, img_size=56).eval()
    plain.load_state_dict(safetensors.torch.load_file(exported), strict=True)
    with torch.inference_mode():
        assert_close(plain(model.pixels), model.logits(), 3e-5)
