"""One whole training step, gradient by gradient, against timm's models differentiated by PyTorch."""

import subprocess

import pytest
import safetensors.torch
import torch
from conftest import assert_close, built
from test_peft import adapter_tensors, lora_on
from timm_rlrr import adapt

TOLERANCE = 1e-4  # of each gradient's largest entry
MODELS = {
    "ViT": ("vit_tiny_patch16_224", 64),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", 42),
}


def trained_by(method, model):
    """What `method` trains in timm's model, by timm's names, and the method's options."""
    if method == "rlrr":
        return adapt(model), {}
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(
            method == "full" or name.startswith("head.") or (method == "bitfit" and name.endswith("bias"))
        )
    return {name: p for name, p in model.named_parameters() if p.requires_grad}, {}


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


@pytest.mark.parametrize("method", ["rlrr", "bitfit", "full", "linear"])
@pytest.mark.parametrize("label", MODELS)
def test_gradients_equal_autograds(case, label, method):
    name, size = MODELS[label]
    model = case(name, weights_size=size, num_classes=7)
    labels = torch.tensor([3, 0, 6])
    trained, options = trained_by(method, model.model)
    logits = model.model(model.pixels)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values()))))
    check(ours(model, labels, method, options, trained), loss, logits, gradients)


def test_lora_gradients_equal_pefts(case):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    labels = torch.tensor([3, 0, 6])
    wrapped = lora_on(model.model, rank=4, alpha=6, targets=r".*blocks.*\.(qkv|proj|fc1|fc2)")
    tensors = adapter_tensors(wrapped)
    logits = model.model(model.pixels)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    expected = adapter_tensors(wrapped, lambda parameter: parameter.grad)
    theirs = {name: tensor.clone() for name, tensor in expected.items()}

    computed = ours(model, labels, "lora", {"rank": 4, "alpha": 6, "targets": "qkv,proj,fc1,fc2"}, tensors)
    for name in [n for n in theirs if n.endswith("adapter.q.lora_A")]:
        # PEFT's q, k and v share one A, whose gradient is the sum of what ours get.
        site = name.removesuffix("q.lora_A")
        shared = theirs.pop(name)
        del theirs[f"{site}k.lora_A"], theirs[f"{site}v.lora_A"]
        theirs[f"{site}sum.lora_A"] = shared
        computed[f"grad/{site}sum.lora_A"] = sum(computed.pop(f"grad/{site}{part}.lora_A") for part in "qkv")
    head = {name for name in computed if name.startswith("grad/head.")}
    check({k: v for k, v in computed.items() if k not in head}, loss, logits, theirs)
