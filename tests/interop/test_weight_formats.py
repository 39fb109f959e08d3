"""Weights in the formats they are published in, written by the libraries that write them, give the same logits."""

import argparse
import collections
import json
import subprocess

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import transformers
from conftest import assert_close, built, randomized
from test_io import huggingface_vit, predict, shaken
from timm.models import load_checkpoint
from timm.models.vision_transformer import checkpoint_filter_fn

TOLERANCE = 3e-5
NAME = "vit_tiny_patch16_224"


def timm_model(name=NAME, size=64, classes=5, **options):
    torch.manual_seed(0)
    return randomized(timm.create_model(name, num_classes=classes, img_size=size, **options)).eval()


@torch.inference_mode()
def logits_of(model, pixels):
    return model(pixels)


def check(program, folder, weights, model, name=NAME, size=64):
    pixels = torch.randn(2, 3, size, size)
    assert_close(predict(program, folder, name, weights, pixels), logits_of(model, pixels), TOLERANCE)


def refused(weights, *named, model=NAME):
    command = [built("RESPEFT_PROGRAM", "bin/respeft"), "doctor", "--model", model, "--image-size", "64", "--weights", str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    for part in named:
        assert part in done.stdout + done.stderr, done.stdout + done.stderr


def google_arrays(model, flavor="flax"):
    """A timm ViT's weights as Google's programs have them: the inverse of timm's reading."""
    heads = model.blocks[0].attn.num_heads
    attention, mlp, norm2 = {"flax": (1, 3, 2)}.get(flavor, (0, 0, 1))
    arrays = {
        "cls": model.cls_token,
        "embedding/kernel": model.patch_embed.proj.weight.permute(2, 3, 1, 0),
        "embedding/bias": model.patch_embed.proj.bias,
        "pos_embedding" if flavor != "flax" else "Transformer/posembed_input/pos_embedding": model.pos_embed,
        "Transformer/encoder_norm/scale": model.norm.weight,
        "Transformer/encoder_norm/bias": model.norm.bias,
        "head/kernel": model.head.weight.T,
        "head/bias": model.head.bias,
    }
    blocks = []
    for block in model.blocks:
        dim = block.norm1.weight.numel()
        named = {
            "LayerNorm_0/scale": block.norm1.weight,
            "LayerNorm_0/bias": block.norm1.bias,
            f"LayerNorm_{norm2}/scale": block.norm2.weight,
            f"LayerNorm_{norm2}/bias": block.norm2.bias,
            f"MultiHeadDotProductAttention_{attention}/out/kernel": block.attn.proj.weight.T.reshape(heads, dim // heads, dim),
            f"MultiHeadDotProductAttention_{attention}/out/bias": block.attn.proj.bias,
        }
        for part, weight, bias in zip(
            ("query", "key", "value"), block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3), strict=True
        ):
            named[f"MultiHeadDotProductAttention_{attention}/{part}/kernel"] = weight.T.reshape(dim, heads, dim // heads)
            named[f"MultiHeadDotProductAttention_{attention}/{part}/bias"] = bias.reshape(heads, dim // heads)
        for i, layer in enumerate((block.mlp.fc1, block.mlp.fc2)):
            named[f"MlpBlock_{mlp}/Dense_{i}/kernel"] = layer.weight.T
            named[f"MlpBlock_{mlp}/Dense_{i}/bias"] = layer.bias
        blocks.append(named)
    if flavor == "stacked":
        for key in blocks[0]:
            arrays[f"Transformer/encoderblock/{key}"] = torch.stack([block[key] for block in blocks])
    else:
        for i, block in enumerate(blocks):
            arrays |= {f"Transformer/encoderblock_{i}/{key}": value for key, value in block.items()}
    before = {"optimizer": "opt/target/", "flax": ""}.get(flavor, "params/")
    return {before + key: value.detach().contiguous().numpy() for key, value in arrays.items()}


@pytest.mark.parametrize("flavor", ["flax", "big_vision", "stacked"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_google_npz(program, tmp_path, flavor, save):
    path = tmp_path / "google.npz"
    save(path, **google_arrays(timm_model(), flavor))
    model = timm.create_model(NAME, num_classes=5, img_size=64).eval()
    model.load_pretrained(str(path))
    check(program, tmp_path, path, model)


@pytest.mark.parametrize("flavor", ["flax", "stacked"])
def test_positions_of_google_npz_are_resampled_as_timm_does(program, tmp_path, flavor):
    path = tmp_path / "google.npz"
    np.savez(path, **google_arrays(timm_model(size=112), flavor))
    model = timm.create_model(NAME, num_classes=5, img_size=64).eval()
    model.load_pretrained(str(path))
    check(program, tmp_path, path, model)


def test_npz_of_other_layouts_of_memory(program, tmp_path):
    """Fortran's order, big-endian and half precision."""
    arrays = google_arrays(timm_model())
    odd = {key: np.asfortranarray(value.astype(">f4" if i % 2 else ">f8")) for i, (key, value) in enumerate(arrays.items())}
    np.savez(tmp_path / "odd.npz", **odd)
    check(program, tmp_path, tmp_path / "odd.npz", timm_model())
    np.savez(tmp_path / "half.npz", **{key: value.astype(np.float16) for key, value in arrays.items()})
    model = timm.create_model(NAME, num_classes=5, img_size=64).eval()
    np.savez(tmp_path / "rounded.npz", **{key: value.astype(np.float16).astype(np.float32) for key, value in arrays.items()})
    model.load_pretrained(str(tmp_path / "rounded.npz"))
    check(program, tmp_path, tmp_path / "half.npz", model)


def test_head_behind_googles_representation_layer_is_left_out(program, tmp_path):
    arrays = google_arrays(timm_model())
    arrays |= {"pre_logits/kernel": np.ones((192, 192), np.float32), "pre_logits/bias": np.ones(192, np.float32)}
    np.savez(tmp_path / "in21k.npz", **arrays)
    out = tmp_path / "timm.safetensors"
    program("export", "--format", "timm", "--model", NAME, "--weights", tmp_path / "in21k.npz", "--image-size", 64,
            "--num-classes", 5, "--out", out)  # fmt: skip
    ours, expected = safetensors.torch.load_file(out), timm_model().state_dict()
    assert not torch.equal(ours["head.weight"], expected["head.weight"])
    assert all(torch.equal(ours[key], expected[key]) for key in expected if not key.startswith("head."))


def test_npz_of_something_else_is_refused(tmp_path):
    arrays = google_arrays(timm_model())
    np.savez(tmp_path / "hybrid.npz", **arrays, **{"conv_root/kernel": np.ones((7, 7, 3, 64), np.float32)})
    refused(tmp_path / "hybrid.npz", "hybrid.npz", "conv_root/kernel")
    np.savez(tmp_path / "objects.npz", **arrays, note=np.array([{"a": 1}], dtype=object))
    refused(tmp_path / "objects.npz", "objects.npz", "'note.npy'", "Python objects")


# ---- PyTorch's own files


def wrapped(state):
    """Checkpoints as training programs write them."""
    prefixed = lambda prefix: {prefix + key: value for key, value in state.items()}  # noqa: E731
    plain = {"epoch": 3, "lr": 1e-3, "best": None, "done": True, "big": 1 << 80, "rates": [0.1, (1, 2)]}
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"betas": (0.9, 0.999)}]}
    return {
        "state_dict": state,
        "dict": dict(state),
        "data_parallel": {"state_dict": prefixed("module."), "optimizer": optimizer, **plain},
        "compiled": {"model": prefixed("_orig_mod."), "args": argparse.Namespace(lr=1e-3, name="deit")},
        "teacher": {"teacher": prefixed("backbone.") | {"dino_head.mlp.0.weight": torch.ones(2, 2)}},
        "both": prefixed("module._orig_mod."),
    }


@pytest.mark.parametrize("label", ["state_dict", "dict", "data_parallel", "compiled", "teacher", "both"])
def test_torch_save(program, tmp_path, label):
    model = timm_model()
    state = model.state_dict()
    torch.save(wrapped(state)[label], tmp_path / "weights.pth")
    check(program, tmp_path, tmp_path / "weights.pth", model)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(program, tmp_path, protocol):
    model = timm_model()
    torch.save(model.state_dict(), tmp_path / "weights.bin", pickle_protocol=protocol)
    check(program, tmp_path, tmp_path / "weights.bin", model)


def test_views_parameters_and_shared_storages(program, tmp_path):
    model = timm_model()
    state = model.state_dict()
    flat = torch.cat([value.flatten() for value in state.values()])
    views, at = {}, 0
    for key, value in state.items():
        views[key] = flat[at : at + value.numel()].view(value.shape)
        at += value.numel()
    views["head.weight"] = state["head.weight"].T.contiguous().T  # strides of its own
    views["norm.bias"] = torch.nn.Parameter(state["norm.bias"])
    torch.save(views, tmp_path / "views.pth")
    check(program, tmp_path, tmp_path / "views.pth", model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_torch_save_of_other_precisions(program, tmp_path, dtype):
    state = {key: value.to(dtype) for key, value in timm_model().state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    model = timm_model()
    model.load_state_dict({key: value.float() for key, value in state.items()})
    check(program, tmp_path, tmp_path / "weights.pth", model)


def test_pickles_that_are_refused(tmp_path):
    model = timm_model()
    state = model.state_dict()

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    cases = {
        "whole model": (model, ("timm.models.vision_transformer.VisionTransformer", "state_dict()")),
        "object": ({**state, "x": Evil()}, ("io.open",)),
        "numpy": ({"model": state, "best": np.float64(1.0)}, ("numpy",)),
        "defaultdict": (collections.defaultdict(list, state), ("collections.defaultdict",)),
        "several": ({"student": state, "teacher": state}, ("'student', 'teacher'",)),
        "not a tensor": ({**state, "epoch": 3}, ("'epoch'", "a number")),
        "list": (list(state.values()), ("a list",)),
        "nothing": ({"a": 1}, ("no tensors",)),
        "expanded": ({**state, "cls_token": torch.zeros(1).expand(1, 1, 192)}, ("'cls_token'", "repeats")),
        "negated": ({**state, "norm.bias": torch._neg_view(state["norm.bias"])}, ("'neg'", "resolve_neg")),
        "sparse": ({**state, "norm.bias": state["norm.bias"].to_sparse()}, ("_rebuild_sparse_tensor",)),
    }
    for label, (saved, named) in cases.items():
        path = tmp_path / f"{label}.pth"
        torch.save(saved, path)
        refused(path, path.name, *named)
    assert not (tmp_path / "executed").exists()
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pth", "old.pth", "before version 1.6", "torch.save")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "script.pt"))
    refused(tmp_path / "script.pt", "script.pt", "TorchScript")


# ---- shards and folders


@pytest.mark.parametrize("whole", [False, True])
def test_huggingface_folder(program, tmp_path, whole):
    model = shaken(transformers.ViTForImageClassification(huggingface_vit(num_labels=7)))
    folder = tmp_path / "snapshot"
    model.save_pretrained(folder, max_shard_size="1GB" if whole else "4MB")
    index = folder / "model.safetensors.index.json"
    assert index.exists() != whole
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model(pixels).logits
    for weights in [folder] if whole else [folder, index]:
        assert_close(predict(program, tmp_path, NAME, weights, pixels), expected, TOLERANCE)


def test_shards_of_pytorch(program, tmp_path):
    model = timm_model()
    items = list(model.state_dict().items())
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    weight_map = {}
    for name, part in zip(names, (items[: len(items) // 2], items[len(items) // 2 :]), strict=True):
        torch.save(dict(part), tmp_path / name)
        weight_map |= {key: name for key, _ in part}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    check(program, tmp_path, tmp_path, model)
    (tmp_path / names[1]).unlink()
    refused(tmp_path, names[1])


def test_an_adapter_knows_its_base_in_shards(program, case, tmp_path):
    """The hash of a base in shards is that of all its files."""
    model = case(NAME, weights_size=64, num_classes=5)
    state = safetensors.torch.load_file(model.weights)
    keys = sorted(state)
    weight_map = {}
    for name, part in (("a.safetensors", keys[::2]), ("b.safetensors", keys[1::2])):
        safetensors.torch.save_file({key: state[key] for key in part}, tmp_path / name)
        weight_map |= dict.fromkeys(part, name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    described = json.loads(program("info", index, "--json"))
    assert described["format"] == "safetensors" and {entry["name"] for entry in described["tensors"]} == set(keys)
    adapter = model.save_adapter(tmp_path / "adapter.safetensors", "ssf", {}, {"norm.adapter.scale": torch.ones(192), "norm.adapter.shift": torch.ones(192)})
    command = [built("RESPEFT_PROGRAM", "bin/respeft"), "inspect", "--weights", str(index), "--adapter", str(adapter)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "trained on other weights" in done.stderr, done.stderr


# ---- timm's and DINOv2's own


def test_timm_checkpoint_of_another_image_size(program, tmp_path):
    torch.save({"state_dict": timm_model(size=112).state_dict(), "arch": NAME}, tmp_path / "checkpoint.pth.tar")
    model = timm.create_model(NAME, num_classes=5, img_size=64).eval()
    load_checkpoint(model, str(tmp_path / "checkpoint.pth.tar"), filter_fn=checkpoint_filter_fn)
    check(program, tmp_path, tmp_path / "checkpoint.pth.tar", model)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
@pytest.mark.parametrize("chunks", [0, 4])
def test_original_dinov2(program, tmp_path, name, chunks):
    """As facebookresearch/dinov2 publishes it; its large models keep their blocks in chunks."""
    model = timm_model(name, size=56)
    state = {}
    for key, value in model.state_dict().items():
        parts = key.split(".")
        if chunks and parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // (12 // chunks)))
        state[".".join(parts).replace("reg_token", "register_tokens")] = value.clone()
    state["mask_token"] = torch.randn(1, 384)
    if "reg4" in name:
        position = torch.randn(1, 1, 384)
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
        model.cls_token.data += position
    torch.save(state, tmp_path / "dinov2.pth")
    check(program, tmp_path, tmp_path / "dinov2.pth", model, name=name, size=56)
