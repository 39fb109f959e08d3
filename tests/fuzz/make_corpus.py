"""Writes the seeds in corpus/ with the libraries that write such files: small ones, of every form that the readers know."""

import argparse
import collections
import copy
import io
import json
import pathlib
import pickle
import tempfile
import zipfile

import numpy as np
import peft
import safetensors.torch
import timm.models
import torch
from PIL import Image

CORPUS = pathlib.Path(__file__).parent / "corpus"
torch.manual_seed(0)


def seed(reader, name, content):
    path = CORPUS / reader / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def written(save):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def arrays():
    return {
        "cls": np.ones((1, 1, 4), np.float32),
        "embedding/kernel": np.ones((2, 2, 3, 4), np.float32),
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel": np.asfortranarray(np.ones((4, 2, 2), ">f4")),
        "head/bias": np.zeros(3, np.float16),
        "step": np.int64(3),
    }


def state():
    shared = torch.arange(12.0)
    return collections.OrderedDict(
        {
            "blocks.0.norm1.weight": shared[:4],
            "blocks.0.0.norm2.weight": torch.ones(4, dtype=torch.bfloat16),
            "head.weight": shared.view(3, 4).T,
            "mask_token": torch.nn.Parameter(torch.ones(1, 4)),
            "flags": torch.tensor([True, False]),
        }
    )


def tensors():
    seed("safetensors", "timm", safetensors.torch.save({"patch_embed.proj.weight": torch.ones(2, 3, 2, 2), "n": torch.tensor([True])}))
    seed("safetensors", "metadata", safetensors.torch.save({"a": torch.ones(2, dtype=torch.float16)}, {"format": "pt"}))
    seed("npz", "stored", written(lambda f: np.savez(f, **arrays())))
    seed("npz", "deflated", written(lambda f: np.savez_compressed(f, **arrays())))
    seed("npz", "stacked", written(lambda f: np.savez(f, **{"params/embedding/kernel": np.ones((1, 1, 3, 2), np.float32),
         "params/Transformer/encoderblock/LayerNorm_0/scale": np.ones((2, 2), np.float32)})))  # fmt: skip
    for protocol in (2, 4):
        content = written(lambda f, protocol=protocol: torch.save({"model": state(), "args": argparse.Namespace(lr=0.1)}, f, pickle_protocol=protocol))
        seed("pytorch", f"wrapped{protocol}", content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            seed("pickle", f"wrapped{protocol}", archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl"))))
    seed("pytorch", "plain", written(lambda f: torch.save(state(), f)))
    for protocol in range(2, 6):
        seed("pickle", f"plain{protocol}", pickle.dumps({"a": [1, 2.5, None, True, (1, 2, 3, 4), {5}, b"x", 1 << 70], "b": {}}, protocol))


def adapters():
    """Files for the model of readers.cpp, as this library and PEFT write them."""
    about = {"format": "respeft", "model": "tiny", "preprocessing": json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3, "size": 8, "interpolation": "bicubic"})}
    site = "blocks.1.mlp.fc1.adapter."
    factors = {"lora_A": torch.ones(2, 8), "lora_B": torch.ones(16, 2)}
    named = lambda tensors: {site + key: value for key, value in tensors.items()}  # noqa: E731
    head = {"head.weight": torch.ones(2, 8), "head.bias": torch.ones(2)}
    for name, method, options, held in [
        ("lora", "lora", {"rank": 2, "targets": "fc1"}, named(factors) | head),
        ("allocated", "lora", {"rank": 2, "target_rank": 1, "targets": "fc1"}, named(factors | {"lora_E": torch.ones(2, 1)})),
        ("reslora", "reslora-ms", {"rank": 2, "targets": "fc1"}, named(factors | {"recorded": torch.zeros(1)})),
        ("rlrr", "rlrr", {"targets": "fc1", "residual": True}, named({"scale_in": torch.ones(8), "scale_out": torch.ones(16), "shift": torch.ones(16)})),
        ("lokr", "lokr", {"rank": 2, "targets": "fc1"}, named({"lokr_w1": torch.ones(4, 2), "lokr_w2": torch.ones(4, 4)})),
        ("linear", "linear", {}, head),
    ]:
        seed("adapter", name, safetensors.torch.save(held, about | {"method": method, "options": json.dumps(options)}))

    vit = timm.models.VisionTransformer(img_size=8, patch_size=4, num_classes=2, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2)
    for name, config in [
        ("lora", peft.LoraConfig(r=2, lora_alpha=4, target_modules=["qkv"], modules_to_save=["head"], rank_pattern={"1.attn.qkv": 3})),
        ("loha", peft.LoHaConfig(r=2, alpha=2, target_modules=["blocks.0.mlp.fc2"])),
        ("lokr", peft.LoKrConfig(r=2, alpha=2, target_modules=["blocks.0.mlp.fc1"])),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            peft.get_peft_model(copy.deepcopy(vit), config).save_pretrained(folder)
            said = json.loads((pathlib.Path(folder) / "adapter_config.json").read_text())
            tensors = (pathlib.Path(folder) / "adapter_model.safetensors").read_bytes()
        line = json.dumps({key: value for key, value in said.items() if value}, separators=(",", ":"), sort_keys=True)
        seed("peft_adapter", name, line.encode() + b"\n" + tensors)


def archives():
    def archive(f, method):
        with zipfile.ZipFile(f, "w", method) as out:
            out.writestr("a.txt", "a" * 500)
            with out.open("b", "w", force_zip64=True) as entry:
                entry.write(b"b")
            out.comment = b"a comment"

    seed("zip", "stored", written(lambda f: archive(f, zipfile.ZIP_STORED)))
    seed("zip", "deflated", written(lambda f: archive(f, zipfile.ZIP_DEFLATED)))


def texts():
    seed("index", "index", json.dumps({"metadata": {"total_size": 0}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}))
    seed("index", "empty", json.dumps({"weight_map": {}}))
    seed("peft", "lora", json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["query", "value"], "bias": "none",
         "modules_to_save": ["classifier"], "rank_pattern": {"a": 4}, "use_rslora": True, "base_model_name_or_path": "x"}))  # fmt: skip
    seed("peft", "lokr", json.dumps({"peft_type": "LOKR", "r": 4, "alpha": 8, "target_modules": "all-linear", "decompose_factor": -1}))
    processor = {"image_processor_type": "BitImageProcessor", "do_resize": True, "size": {"shortest_edge": 9}, "resample": 3, "crop_size": {"height": 8, "width": 8},
                 "do_center_crop": True, "do_rescale": True, "rescale_factor": 0.00392156862745098, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    seed("companions", "processor", json.dumps(processor))
    seed("companions", "huggingface", json.dumps({"model_type": "vit", "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 16, "id2label": {"0": "a", "1": "b"}}))
    timm = {"input_size": [3, 16, 16], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic", "label_names": ["a", "b"]}
    seed("companions", "timm", json.dumps({"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 2, "act_layer": "gelu", "global_pool": "token"}, "pretrained_cfg": timm}))
    seed("preprocessing", "half", json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3, "size": 224, "interpolation": "bicubic"}))
    seed("config", "run", 'model = "vit_base_patch16_224"\nmethod = "rlrr"\nepochs = 3\nlr = 1e-3\ndata = "imagefolder:x"\n[options]\nresidual = false\n')
    seed("vtab", "list", "images/000001.jpg 3\nimages/a b.png 99\n")
    seed("fgvc", "list", json.dumps({"001.Albatross/a.jpg": 1, "002.Auk/b.jpg": 2}))


def pictures():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    image, turned = Image.fromarray(pixels), Image.Exif()
    turned[0x0112] = 6
    seed("exif", "turned", turned.tobytes()[6:])
    seed("jpeg", "baseline", written(lambda f: image.save(f, "JPEG", exif=turned)))
    seed("jpeg", "progressive", written(lambda f: image.save(f, "JPEG", progressive=True, subsampling=0)))
    seed("jpeg", "gray", written(lambda f: image.convert("L").save(f, "JPEG")))
    seed("jpeg", "cmyk", written(lambda f: image.convert("CMYK").save(f, "JPEG")))
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        seed("png", mode.replace(";", ""), written(lambda f, mode=mode: (image.convert("I").convert(mode) if ";" in mode else image.convert(mode)).save(f, "PNG")))
    seed("idx", "one", b"\0\0\x08\x03\0\0\0\1\0\0\0\2\0\0\0\2" + bytes(4))


for make in (tensors, adapters, archives, texts, pictures):
    make()
print(sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()), "bytes")
