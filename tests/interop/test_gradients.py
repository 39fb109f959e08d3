"""One whole training step, gradient by gradient, against timm's models differentiated by PyTorch."""

import subprocess

import pytest
import safetensors.torch
import torch
from conftest import assert_close, built
from test_peft import ALL, adapter_tensors, lora_on
from timm_rlrr import ScaledShifted, adapt
from torch import nn

TOLERANCE = 1e-4  # of each gradient's largest entry
MODELS = {
    "ViT": ("vit_tiny_patch16_224", 64),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", 42),
}


def heads(model):
    return {name: p for name, p in model.named_parameters() if name.startswith("head.")}


def scale_and_shift(model):
    """SSF on timm's model: a scale and a shift after every linear, norm and the patch projection."""
    adapt(model)
    for block in model.blocks:
        for owner, names in ((block.attn, ("qkv", "proj")), (block.mlp, ("fc1", "fc2"))):
            for name in names:
                base = nn.Linear(1, 1)
                base.weight, base.bias = getattr(owner, name).weight, getattr(owner, name).bias
                setattr(owner, name, ScaledShifted(base, len(base.bias)))
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def biases(model):
    """Every bias, moved by a random shift: (the shifts by adapter names, the biases by the same names)."""
    shifts, moved = {}, {}
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias") and not name.startswith("head."):
            shift = f"{name.removesuffix('bias')}adapter.shift"
            shifts[shift] = 0.1 * torch.randn_like(parameter)
            moved[shift] = parameter.requires_grad_()
            parameter.data += shifts[shift]
    return shifts | heads(model), moved | {n: p.requires_grad_() for n, p in heads(model).items()}


def trained_by(method, model):
    """What `method` trains in timm's model, by the names of adapter files: (values for the file, leaves to differentiate)."""
    if method == "bitfit":
        return biases(model)
    if method == "rlrr":
        trained = adapt(model)
    elif method == "ssf":
        trained = scale_and_shift(model)
    else:
        trained = dict(model.named_parameters()) if method == "full" else heads(model)
    return trained, trained


def ours(model, labels, method, options, tensors):
    """respeft's loss, logits and gradients."""
    adapter = model.save_adapter(model.folder / "adapter.safetensors", method, options, tensors)
    examples, out = model.folder / "examples.safetensors", model.folder / "gradients.safetensors"
    safetensors.torch.save_file({"pixels": model.pixels, "labels": labels}, examples)
    command = [built("RESPEFT_GRADIENTS", "bin/respeft_gradients"), model.name, model.weights, adapter, examples, out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return safetensors.torch.load_file(out)


def check(ours, loss, logits, gradients):
    assert_close(ours.pop("logits"), logits.detach(), 3e-5)
    torch.testing.assert_close(ours.pop("loss"), loss.detach(), rtol=1e-5, atol=0)
    assert {name.removeprefix("grad/") for name in ours} == set(gradients)
    for name, expected in gradients.items():
        largest = expected.abs().max()
        assert largest > 0, f"{name}: nothing to compare"
        error = ((ours[f"grad/{name}"] - expected).abs().max() / largest).item()
        assert error <= TOLERANCE, f"{name}: differs by {error:.2g} of its largest entry"


@pytest.mark.parametrize("method", ["rlrr", "ssf", "bitfit", "full", "linear"])
@pytest.mark.parametrize("label", MODELS)
def test_gradients_equal_autograds(case, label, method):
    name, size = MODELS[label]
    model = case(name, weights_size=size, num_classes=7)
    labels = torch.tensor([3, 0, 6])
    values, leaves = trained_by(method, model.model)
    logits = model.model(model.pixels)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))
    check(ours(model, labels, method, {}, values), loss, logits, gradients)


def test_lora_gradients_equal_pefts(case):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    labels = torch.tensor([3, 0, 6])
    wrapped = lora_on(model.model, rank=4, alpha=6, modules=ALL)
    tensors = adapter_tensors(wrapped)
    logits = model.model(model.pixels)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    expected = adapter_tensors(wrapped, of=lambda parameter: parameter.grad)
    computed = ours(model, labels, "lora", {"rank": 4, "alpha": 6.0, "targets": "qkv,o,fc1,fc2"}, tensors)
    check({k: v for k, v in computed.items() if not k.startswith("grad/head.")}, loss, logits, expected)
