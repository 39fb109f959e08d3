"""Files of the libraries that others use are read as they mean them, and they read ours."""

import json
import struct
import subprocess

import pytest
import safetensors
import safetensors.torch
import timm
import torch
import transformers
from conftest import assert_close, built, randomized
from timm.models.vision_transformer import checkpoint_filter_fn

TOLERANCE = 3e-5


@torch.no_grad()
def shaken(model):
    """Moves every parameter away from where it starts, so that each one matters."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        scale = 0.5 if "lambda1" in name else 0.02 if parameter.dim() == 2 else 0.2
        parameter.add_(torch.randn_like(parameter) * scale)
    return model.eval()


def predict(program, folder, name, weights, pixels, *arguments):
    safetensors.torch.save_file({"pixels": pixels}, folder / "pixels.safetensors")
    out = folder / "logits.safetensors"
    program("predict", "--model", name, "--weights", weights, "--image-size", pixels.shape[-1], *arguments,
            "--pixels", folder / "pixels.safetensors", "--logits", out)  # fmt: skip
    return safetensors.torch.load_file(out)["logits"]


def huggingface_vit(**options):
    sizes = dict(hidden_size=192, num_attention_heads=3, intermediate_size=768, patch_size=16, image_size=64)
    return transformers.ViTConfig(**sizes, **options)


def test_huggingface_vit(program, tmp_path):
    model = shaken(transformers.ViTForImageClassification(huggingface_vit(num_labels=7)))
    model.save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model(pixels).logits
    assert_close(predict(program, tmp_path, "vit_tiny_patch16_224", tmp_path / "model.safetensors", pixels), expected, TOLERANCE)


def test_huggingface_names_of_a_live_model(program, tmp_path):
    """`state_dict()` and `save_pretrained` do not spell the attention's names alike."""
    model = shaken(transformers.ViTForImageClassification(huggingface_vit(num_labels=7)))
    safetensors.torch.save_file({k: v.clone() for k, v in model.state_dict().items()}, tmp_path / "live.safetensors")
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model(pixels).logits
    assert_close(predict(program, tmp_path, "vit_tiny_patch16_224", tmp_path / "live.safetensors", pixels), expected, TOLERANCE)


DINOV2 = {
    "plain": ("vit_small_patch14_dinov2", transformers.Dinov2Config, transformers.Dinov2Model),
    "registers": (
        "vit_small_patch14_reg4_dinov2",
        transformers.Dinov2WithRegistersConfig,
        transformers.Dinov2WithRegistersModel,
    ),
}


def dinov2(label):
    name, config, model = DINOV2[label]
    sizes = dict(hidden_size=384, num_attention_heads=6, num_hidden_layers=12, patch_size=14, image_size=56)
    return name, shaken(model(config(**sizes)))


@pytest.mark.parametrize("label", DINOV2)
def test_huggingface_dinov2(program, tmp_path, label):
    name, model = dinov2(label)
    model.save_pretrained(tmp_path)
    head = torch.nn.Linear(384, 9)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    state |= {"classifier.weight": head.weight.detach(), "classifier.bias": head.bias.detach()}
    safetensors.torch.save_file(state, tmp_path / "with_head.safetensors")
    pixels = torch.randn(2, 3, 56, 56)
    with torch.inference_mode():
        expected = head(model(pixels).pooler_output)
    assert_close(predict(program, tmp_path, name, tmp_path / "with_head.safetensors", pixels), expected, TOLERANCE)


@pytest.mark.parametrize("label", DINOV2)
def test_huggingface_dinov2_becomes_timms(program, tmp_path, label):
    name, model = dinov2(label)
    model.save_pretrained(tmp_path)
    out = tmp_path / "timm.safetensors"
    program("export", "--format", "timm", "--model", name, "--weights", tmp_path / "model.safetensors",
            "--image-size", 56, "--num-classes", 5, "--out", out)  # fmt: skip
    plain = timm.create_model(name, num_classes=5, img_size=56, checkpoint_path=str(out)).eval()
    pixels = torch.randn(2, 3, 56, 56)
    with torch.inference_mode():
        expected = model(pixels).last_hidden_state[:, 0]
        assert_close(plain.forward_features(pixels)[:, 0], expected, TOLERANCE)


def test_original_dinov2_layout_with_registers(program, tmp_path):
    """Meta's own files have a mask token, `register_tokens`, and a position for the class token."""
    name = "vit_small_patch14_reg4_dinov2"
    torch.manual_seed(0)
    model = randomized(timm.create_model(name, num_classes=5, img_size=56)).eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.randn(1, 384)
    state["pos_embed"] = torch.cat([torch.randn(1, 1, 384), state["pos_embed"]], 1)
    safetensors.torch.save_file(state, tmp_path / "original.safetensors")
    model.load_state_dict(checkpoint_filter_fn(dict(state), model), strict=True)
    pixels = torch.randn(2, 3, 56, 56)
    with torch.inference_mode():
        expected = model(pixels)
    assert_close(predict(program, tmp_path, name, tmp_path / "original.safetensors", pixels), expected, TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions(program, tmp_path, dtype):
    torch.manual_seed(0)
    model = randomized(timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64)).eval()
    state = {k: v.to(dtype) for k, v in model.state_dict().items()}
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)  # the oldest files' layout
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    model.load_state_dict(checkpoint_filter_fn({k: v.float() for k, v in state.items()}, model), strict=True)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model(pixels)
    assert_close(predict(program, tmp_path, "vit_tiny_patch16_224", tmp_path / "weights.safetensors", pixels), expected, TOLERANCE)


def test_mean_pooling_from_weights_for_the_class_token(program, tmp_path):
    """As in timm, the norm after pooling is fresh then; a head is not taken over, as it needs the other norm."""
    torch.manual_seed(0)
    source = randomized(timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64))
    backbone = {k: v for k, v in source.state_dict().items() if not k.startswith("head.")}
    safetensors.torch.save_file(backbone, tmp_path / "weights.safetensors")
    out = tmp_path / "timm.safetensors"
    program("export", "--format", "timm", "--model", "vit_tiny_patch16_224", "--weights", tmp_path / "weights.safetensors",
            "--image-size", 64, "--pool", "avg", "--num-classes", 3, "--out", out)  # fmt: skip
    ours = safetensors.torch.load_file(out)
    assert torch.equal(ours["fc_norm.weight"], torch.ones(192)) and torch.equal(ours["fc_norm.bias"], torch.zeros(192))
    assert "norm.weight" not in ours
    timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=64, global_pool="avg").load_state_dict(ours, strict=True)


def test_real_library_reads_our_metadata_and_layout(case, program, tmp_path):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=10)
    out = tmp_path / "timm.safetensors"
    program("export", "--format", "timm", *model.arguments(), "--out", out)
    with safetensors.safe_open(out, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["preprocessing"])["size"] == 64
        expected = safetensors.torch.load_file(model.weights)
        assert set(file.keys()) == set(expected)
        assert all(torch.equal(file.get_tensor(key), expected[key]) for key in file.keys())
    length = struct.unpack("<Q", out.read_bytes()[:8])[0]
    assert length % 8 == 0


def broken(good):
    """Damaged copies of a file, each with what the program must name."""
    length = struct.unpack("<Q", good[:8])[0]
    header, data = json.loads(good[8 : 8 + length]), good[8 + length :]

    def with_header(change):
        changed = json.loads(json.dumps(header))
        text = change(changed)
        text = (text if isinstance(text, str) else json.dumps(changed)).encode()
        return struct.pack("<Q", len(text)) + text + data

    def set_entry(key, field, value):
        return with_header(lambda h: h[key].__setitem__(field, value))

    def twice(h):
        return json.dumps(h)[:-1] + ', "norm.bias": ' + json.dumps(h["norm.bias"]) + "}"

    begin, end = header["norm.bias"]["data_offsets"]
    other = header["norm.weight"]["data_offsets"]
    return {
        "empty": (b"", ""),
        "cut in the header": (good[: length // 2], ""),
        "cut in the data": (good[:-10], "'"),
        "header of 2^63 bytes": (struct.pack("<Q", 1 << 63) + good[8:], ""),
        "not JSON": (good[:8] + b"x" * length + data, "JSON"),
        "unknown dtype": (set_entry("norm.bias", "dtype", "F31"), "norm.bias"),
        "shape too large": (set_entry("norm.bias", "shape", [1 << 40, 1 << 40]), "norm.bias"),
        "shape of another size": (set_entry("norm.bias", "shape", [191]), "norm.bias"),
        "offsets beyond the end": (set_entry("norm.bias", "data_offsets", [begin + (1 << 50), end + (1 << 50)]), "norm.bias"),
        "overlap": (set_entry("norm.bias", "data_offsets", other), "norm."),
        "twice": (with_header(twice), "norm.bias"),
    }


def refuses(path):
    try:
        safetensors.torch.load_file(path)
    except Exception:
        return True
    return False


def test_broken_files_are_refused(case, tmp_path):
    model = case("vit_tiny_patch16_224", weights_size=32, num_classes=4)
    out = tmp_path / "out.safetensors"
    for label, (content, named) in broken(model.weights.read_bytes()).items():
        path = tmp_path / "broken.safetensors"
        path.write_bytes(content)
        if label != "twice":  # which the real library lets the last one win
            assert refuses(path), f"{label}: the real library reads it"
        command = ["predict", "--model", model.name, "--weights", path, "--image-size", 32, "--pixels", model.pixels_file, "--logits", out]
        done = subprocess.run([built("RESPEFT_PROGRAM", "bin/respeft"), *map(str, command)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, f"{label}: {done.returncode}\n{done.stderr}"
        assert "broken.safetensors" in done.stderr and named in done.stderr, f"{label}: {done.stderr}"
        assert len(done.stderr.strip().splitlines()) == 1, f"{label}: {done.stderr}"
        assert not out.exists(), label
