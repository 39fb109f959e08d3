"""Against Hugging Face PEFT: with rank 1 its HiRA is RLRR's weight term, and LoRA is LoRA."""

import peft
import pytest
import safetensors.torch
import torch
from conftest import assert_close
from torch import nn


def hira_layer(features_in, features_out, bias, dtype):
    torch.manual_seed(features_in)
    base = nn.Sequential(nn.Linear(features_in, features_out, bias=bias, dtype=dtype))
    wrapped = peft.get_peft_model(base, peft.HiraConfig(r=1, target_modules=["0"], init_weights=False))
    return wrapped, wrapped.base_model.model[0].to(dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("features_in, features_out, leading", [(24, 40, (5,)), (33, 17, (2, 7)), (384, 1536, (2, 3, 4))])
def test_rank_one_hira_is_rescaled_linear(ops, features_in, features_out, leading, dtype, tolerance, bias):
    wrapped, layer = hira_layer(features_in, features_out, bias, dtype)
    base, a, b = layer.base_layer, layer.hira_A["default"], layer.hira_B["default"]
    x = torch.randn(*leading, features_in, dtype=dtype)
    grad = torch.randn(*leading, features_out, dtype=dtype)

    theirs_x = x.clone().requires_grad_()
    theirs = wrapped(theirs_x)
    theirs.backward(grad)

    ours_x = x.clone().requires_grad_()
    scale_in = a.detach()[0].clone().requires_grad_()
    scale_out = b.detach()[:, 0].clone().requires_grad_()
    ours = ops.rescaled_linear(ours_x, base.weight, base.bias, scale_in, scale_out)
    ours.backward(grad)

    assert_close(ours, theirs, tolerance)
    assert_close(ours_x.grad, theirs_x.grad, tolerance)
    assert_close(scale_in.grad, a.grad[0], tolerance)
    assert_close(scale_out.grad, b.grad[:, 0], tolerance)
    assert base.weight.grad is None


def lora_on(model, rank, alpha, modules):
    """PEFT's LoRA on these modules of every block of timm's `model`, with B drawn too, so that it does something."""
    pattern = f".*blocks.*\\.({'|'.join(modules)})"
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern, lora_dropout=0.0)
    wrapped = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 0.1)
    return wrapped


def adapter_tensors(wrapped, split=False, of=lambda parameter: parameter.detach()):
    """PEFT's parameters, or what `of` makes of each, under respeft's names. PEFT sees one fused qkv, as respeft does with the
    target `qkv`; with `split`, it is three pairs that share A, for the targets `q,k,v`."""
    tensors = {}
    for name, parameter in wrapped.named_parameters():
        if "lora_" not in name:
            continue
        site, kind = name.removeprefix("base_model.model.").removesuffix(".default.weight").rsplit(".", 1)
        tensor = of(parameter)
        if not (split and site.endswith("qkv")):
            tensors[f"{site}.adapter.{kind}"] = tensor
            continue
        parts = tensor.chunk(3) if kind == "lora_B" else [tensor] * 3
        for part, of_part in zip("qkv", parts):
            tensors[f"{site}.adapter.{part}.{kind}"] = of_part
    return tensors


ALL = ["qkv", "proj", "fc1", "fc2"]
CASES = [(["proj"], "o"), (["fc1", "fc2"], "fc1,fc2"), (["qkv"], "qkv"), (ALL, "qkv,o,fc1,fc2"), (ALL, "linears")]


@pytest.mark.parametrize("modules, targets", CASES, ids=[targets for _, targets in CASES])
def test_lora_equals_pefts(case, program, tmp_path, modules, targets):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=10)
    plain = model.logits()
    wrapped = lora_on(model.model, rank=4, alpha=6, modules=modules)
    expected = model.logits()
    assert (expected - plain).abs().max() > 0.05 * plain.abs().max(), "the adapter changes nothing"

    adapter = model.save_adapter(
        tmp_path / "adapter.safetensors",
        "lora",
        {"rank": 4, "alpha": 6.0, "targets": targets},
        adapter_tensors(wrapped, split=targets == "linears"),
    )
    assert_close(model.predict(program, "--adapter", adapter), expected, 3e-5)

    merged_file = tmp_path / "merged.safetensors"
    program("merge", *model.arguments(), "--adapter", adapter, "--out", merged_file)
    merged = safetensors.torch.load_file(merged_file)
    for name, theirs in wrapped.merge_and_unload().state_dict().items():
        torch.testing.assert_close(merged.pop(name), theirs, rtol=1e-5, atol=1e-6)
    assert not merged, f"the merged file has more than timm's model: {sorted(merged)}"
