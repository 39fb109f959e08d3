"""What the tests here share: the program and the library under test, and timm models with weights worth comparing."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
import safetensors.torch
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
torch.set_num_threads(1)  # the tests run beside each other


def built(variable, default):
    path = pathlib.Path(os.environ.get(variable, ROOT / "build" / default)).resolve()
    if not path.exists():
        pytest.exit(f"{path} is not there: run scripts/build, or set {variable}", returncode=2)
    return path


@pytest.fixture(scope="session")
def program():
    """Runs `respeft` with arguments and returns what it wrote to stdout; fails the test if the program fails."""
    path = built("RESPEFT_PROGRAM", "bin/respeft")

    def run(*arguments):
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"respeft {' '.join(map(str, arguments))}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def ops():
    """The library's operators, as Python sees them."""
    torch.ops.load_library(str(built("RESPEFT_LIBRARY", "src/librespeft.so")))
    return torch.ops.respeft


class Case:
    """A timm model in evaluation mode, its weights on disk, and a batch of random pixels."""

    def __init__(self, folder, name, image_size=None, weights_size=None, batch=3, **options):
        torch.manual_seed(len(name))
        self.folder, self.name = folder, name
        trained = randomized(timm.create_model(name, pretrained=False, **sized(weights_size), **options))
        self.weights = folder / "weights.safetensors"
        safetensors.torch.save_file(trained.state_dict(), self.weights)
        self.model = timm.create_model(name, pretrained=False, **sized(image_size or weights_size), **options).eval()
        self.model.load_state_dict(checkpoint_filter_fn(trained.state_dict(), self.model), strict=True)
        self.image_size = self.model.patch_embed.img_size[0]
        self.pixels = torch.randn(batch, 3, self.image_size, self.image_size)
        self.pixels_file = folder / "pixels.safetensors"
        safetensors.torch.save_file({"pixels": self.pixels}, self.pixels_file)

    def arguments(self):
        return ["--model", self.name, "--weights", self.weights, "--image-size", self.image_size]

    def predict(self, program, *arguments):
        """The logits that the program computes for the pixels."""
        out = self.folder / "logits.safetensors"
        program("predict", *self.arguments(), *arguments, "--pixels", self.pixels_file, "--logits", out)
        return safetensors.torch.load_file(out)["logits"]

    @torch.inference_mode()
    def logits(self):
        return self.model(self.pixels)

    def save_adapter(self, path, method, options, tensors):
        """Writes an adapter file as the program would."""
        metadata = {
            "format": "respeft",
            "method": method,
            "model": self.name,
            "options": json.dumps(options),
            "base_sha256": hashlib.sha256(self.weights.read_bytes()).hexdigest(),
            "preprocessing": json.dumps(
                {"mean": [0.5] * 3, "std": [0.5] * 3, "size": self.image_size, "interpolation": "bicubic"}
            ),
        }
        safetensors.torch.save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path, metadata)
        return path


@pytest.fixture
def case(tmp_path):
    """Makes a `Case` in the test's own folder."""
    return lambda name, **options: Case(tmp_path, name, **options)


def sized(image_size):
    return {} if image_size is None else {"img_size": image_size}


@torch.no_grad()
def randomized(model):
    """Draws every parameter that timm starts at zero, one or a tiny value, so that each one matters to the logits."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):  # layer scale
            parameter.uniform_(0.2, 1.0)
        elif "norm" in name:
            parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.2)
        elif name.endswith("bias") or name in ("cls_token", "reg_token", "pos_embed"):
            parameter.normal_(0.0, 0.2)
        elif name.startswith("head"):
            parameter.normal_(0.0, 0.05)
    return model


def assert_close(ours, theirs, tolerance):
    """Within `tolerance` of the largest magnitude of `theirs`."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert theirs.std() > 0.01 * theirs.abs().max(), "the expected values are trivial"
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    assert error <= tolerance, f"differs by {error:.2g} of the largest value; {tolerance:.0e} is allowed"
