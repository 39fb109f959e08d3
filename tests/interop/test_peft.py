"""Against Hugging Face PEFT: with rank 1 its HiRA is RLRR's weight term; LoRA, LoHa, LoKr and AdaLoRA are what they are here, and
adapters that PEFT saved are read with its logits."""

import subprocess

import peft
import pytest
import safetensors.torch
import torch
from conftest import assert_close, built
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

    check_merged(model, program, adapter, wrapped, tmp_path / "merged.safetensors")


def check_merged(model, program, adapter, wrapped, path):
    """That the program merges to the weights that PEFT merges to."""
    program("merge", *model.arguments(), "--adapter", adapter, "--out", path)
    merged = safetensors.torch.load_file(path)
    for name, theirs in wrapped.merge_and_unload().state_dict().items():
        torch.testing.assert_close(merged.pop(name), theirs, rtol=1e-5, atol=1e-6)
    assert not merged, f"the merged file has more than timm's model: {sorted(merged)}"


def factors(wrapped, kinds):
    """PEFT's parameters of these kinds under respeft's names."""
    tensors = {}
    for name, parameter in wrapped.named_parameters():
        site, _, kind = name.removeprefix("base_model.model.").removesuffix(".default").rpartition(".")
        if kind.startswith(kinds):
            tensors[f"{site}.adapter.{kind}"] = parameter
    return tensors


LYCORIS = [
    ("loha", peft.LoHaConfig, {}, {}),
    ("lokr", peft.LoKrConfig, {}, {}),
    ("lokr", peft.LoKrConfig, {"decompose_both": True, "decompose_factor": 24}, {"decompose_both": True, "factor": 24}),
    ("lokr", peft.LoKrConfig, {"decompose_factor": 5}, {"factor": 5}),
]


@pytest.mark.parametrize("method, config, theirs, ours", LYCORIS, ids=["loha", "lokr", "lokr-both", "lokr-factor"])
def test_lycoris_methods_equal_pefts(case, program, tmp_path, method, config, theirs, ours):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=10)
    plain = model.logits()
    modules = ".*blocks.*\\.(qkv|proj|fc1|fc2)"
    wrapped = peft.get_peft_model(model.model, config(r=4, alpha=6, target_modules=modules, **theirs)).eval()
    tensors = factors(wrapped, ("hada_", "lokr_"))
    assert len(tensors) >= 2 * 48
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.normal_(0.0, 0.3 if method == "loha" else 0.1)
    expected = model.logits()
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max(), "the adapter changes nothing"
    options = {"rank": 4, "alpha": 6.0, "targets": "qkv,o,fc1,fc2", **ours}
    adapter = model.save_adapter(tmp_path / "adapter.safetensors", method, options, tensors)
    assert_close(model.predict(program, "--adapter", adapter), expected, 3e-5)
    check_merged(model, program, adapter, wrapped, tmp_path / "merged.safetensors")


def test_rank_allocation_equals_pefts(case, program, tmp_path):
    """AdaLoRA: the logits, the penalty, and which directions are kept after each of 50 steps with drawn values and gradients."""
    steps, start, end, every = 50, 5, 35, 5
    model = case("vit_tiny_patch16_224", num_classes=10)
    plain = model.logits()
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, tinit=start, tfinal=steps - end, deltaT=every, total_step=steps, lora_alpha=6, orth_reg_weight=0.5,
        target_modules=".*blocks.*\\.proj",
    )  # fmt: skip
    wrapped = peft.get_peft_model(model.model, config).eval()
    tensors = factors(wrapped, ("lora_",))
    assert len(tensors) == 3 * 12
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.normal_(0.0, 0.3)
    expected = model.logits()
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max(), "the adapter changes nothing"
    options = {"rank": 4, "alpha": 6.0, "targets": "o", "target_rank": 2, "prune_start": start / steps, "prune_end": end / steps,
               "prune_every": every, "orthogonality": 0.5}  # fmt: skip
    adapter = model.save_adapter(tmp_path / "adapter.safetensors", "lora", options, tensors)
    assert_close(model.predict(program, "--adapter", adapter), expected, 3e-5)

    # PEFT adds the penalty to an output's loss: here a loss of zero.
    class Zero(torch.nn.Module):
        def forward(self, pixels):
            model.model(pixels)
            return type("Output", (), {"loss": torch.zeros(())})()

    inner, wrapped.base_model.model = wrapped.base_model.model, Zero()
    wrapped.base_model.model.inner = inner
    penalty = wrapped.base_model(model.pixels).loss
    wrapped.base_model.model = inner

    generator, allocator = torch.Generator().manual_seed(0), wrapped.base_model.rankallocator
    drawn, kept, pattern = {}, {}, None
    for step in range(1, steps + 1):
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
                tensor.grad = torch.randn(tensor.shape, generator=generator)
                drawn[f"{step}/value/{name}"], drawn[f"{step}/grad/{name}"] = tensor.detach().clone(), tensor.grad.clone()
        if step <= end:
            _, found = allocator.update_and_allocate(wrapped.base_model.model, step, force_mask=step == end)
            pattern = found or pattern
        else:
            allocator.mask_using_rank_pattern(wrapped.base_model.model, pattern)
        kept[step] = {name: t.detach().ne(0).clone() for name, t in tensors.items() if name.endswith("lora_E")}
    given, result = tmp_path / "steps.safetensors", tmp_path / "result.safetensors"
    safetensors.torch.save_file(drawn, given)
    tool = built("RESPEFT_ALLOCATION", "bin/respeft_allocation")
    subprocess.run([tool, model.name, model.weights, adapter, given, result], check=True)
    ours = safetensors.torch.load_file(result)
    torch.testing.assert_close(ours["penalty"][0], penalty.detach(), rtol=1e-5, atol=0)
    for step, masks in kept.items():
        for name, mask in masks.items():
            assert torch.equal(ours[f"{step}/{name}"].ne(0), mask), f"step {step}, {name}"
    assert sum(mask.sum() for mask in kept[steps].values()) == 2 * 12


# ------------------------------------------------------------------------------------------- adapters that PEFT saved


@torch.no_grad()
def drawn(wrapped):
    """`wrapped` with every trained parameter drawn."""
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            parameter.normal_(0.0, 0.15)
    return wrapped.eval()


def check_read(model, program, wrapped, adapter):
    """That the program reads `adapter` with the logits of `wrapped`."""
    expected = model.logits()
    with wrapped.disable_adapter():
        assert (expected - model.logits()).abs().max() > 0.05 * expected.abs().max(), "the adapter changes nothing"
    assert_close(model.predict(program, "--adapter", adapter), expected, 3e-5)


PATTERNS = [  # rank_pattern, alpha_pattern
    ({r".*blocks\.(0|11)\.attn\.qkv": 16}, {}),
    ({r"blocks\.3\.attn\.qkv": 8}, {r"blocks\.(3|4)\.attn\.qkv": 32}),
    ({}, {r".*1[01].*": 32, r"blocks\.\d\.attn\.(qkv|proj)": 1, "proj": 64}),  # the first counts; PEFT's files have them sorted
    ({r"^blocks\.(?!1\d)[2-9]\..*": 2, "qkv$": 6}, {r"[^.]+": 3}),
]


@pytest.mark.parametrize("ranks, alphas", PATTERNS, ids=["ranks", "both", "order", "classes"])
def test_patterns_are_those_of_pefts(case, program, tmp_path, ranks, alphas):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=10)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=r".*\.attn\.(qkv|proj)", rank_pattern=ranks, alpha_pattern=alphas, modules_to_save=["head"]
    )
    wrapped = drawn(peft.get_peft_model(model.model, config))
    wrapped.save_pretrained(tmp_path / "adapter")
    check_read(model, program, wrapped, tmp_path / "adapter")


@pytest.mark.parametrize(
    "steps, target", [(3, 3), (10, 3), (3, 6)], ids=["before pruning", "pruned", "nothing to prune"]
)  # after the last step with nothing to prune, PEFT itself fails
def test_adalora_that_peft_trained_is_read(case, program, tmp_path, steps, target):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=10)
    config = peft.AdaLoraConfig(
        init_r=6, target_r=target, tinit=4, tfinal=2, deltaT=1, total_step=10, lora_alpha=8, target_modules=r".*attn\.(qkv|proj)"
    )
    wrapped = drawn(peft.get_peft_model(model.model, config))
    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], 1e-2)
    for step in range(steps):
        torch.nn.functional.cross_entropy(model.model(model.pixels), torch.arange(3)).backward()
        optimizer.step()
        wrapped.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    wrapped.eval().save_pretrained(tmp_path / "adapter")
    ranks = {len(t) for k, t in safetensors.torch.load_file(tmp_path / "adapter/adapter_model.safetensors").items() if "lora_E" in k}
    assert (len(ranks) > 1) == (steps == 10 and target == 3), ranks
    check_read(model, program, wrapped, tmp_path / "adapter")
    program("merge", *model.arguments(), "--adapter", tmp_path / "adapter", "--out", tmp_path / "merged.safetensors")


def test_adapters_with_names_are_read(case, program, tmp_path):
    """PEFT saves them in folders of their names; state dicts saved by hand have the name in each key."""
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=10)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["qkv", "fc1"], modules_to_save=["head"])
    wrapped = drawn(peft.get_peft_model(model.model, config, adapter_name="pets"))
    wrapped.save_pretrained(tmp_path / "adapters")
    assert (tmp_path / "adapters/pets/adapter_config.json").exists()
    check_read(model, program, wrapped, tmp_path / "adapters")
    by_hand = tmp_path / "by-hand"
    config.save_pretrained(by_hand)
    state = {k: v.clone() for k, v in wrapped.state_dict().items() if "lora_" in k or "modules_to_save" in k or "original_module" in k}
    assert any(".lora_A.pets.weight" in k for k in state) and any(".original_module." in k for k in state)
    safetensors.torch.save_file(state, by_hand / "adapter_model.safetensors")
    check_read(model, program, wrapped, by_hand)
