"""What is exported for timm, Transformers and PEFT loads there and computes the same, and PEFT's adapters do here."""

import json
import subprocess

import numpy
import peft
import PIL.Image
import pytest
import safetensors.torch
import timm
import torch
import transformers
from conftest import assert_close, built, randomized
from test_io import huggingface_vit, predict, shaken
from torchvision import transforms

TOLERANCE = 1e-5
NAMES = ["ant", "bee", "cat", "dog", 'eel "e"', "fox", "gnü"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """A folder that does not load is an error and not a request to the Hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def refused(*arguments):
    """Runs the program, which must fail with one line; returns that line."""
    done = subprocess.run([built("RESPEFT_PROGRAM", "bin/respeft"), *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2), f"{done.returncode}\n{done.stdout}{done.stderr}"
    lines = [line for line in done.stderr.splitlines() if line.startswith("respeft: error: ")]
    assert len(lines) == 1 and not done.stdout, done.stderr
    return lines[0]


@torch.inference_mode()
def logits(model, pixels):
    output = model.eval()(pixels)
    return output if isinstance(output, torch.Tensor) else output.logits


def with_metadata(case, path, **preprocessing):
    """The case's weights as the program writes merged ones, with class names and preprocessing."""
    chosen = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": case.image_size, "interpolation": "bicubic"} | preprocessing
    metadata = {"format": "pt", "model": case.name, "preprocessing": json.dumps(chosen), "class_names": json.dumps(NAMES)}
    safetensors.torch.save_file(safetensors.torch.load_file(case.weights), path, metadata)
    return path


MODELS = {
    "vit": ("vit_tiny_patch16_224", 64, transformers.ViTForImageClassification),
    "dinov2": ("vit_small_patch14_dinov2", 56, transformers.Dinov2ForImageClassification),
    "registers": ("vit_small_patch14_reg4_dinov2", 56, transformers.Dinov2WithRegistersForImageClassification),
}


@pytest.mark.parametrize("label", MODELS)
def test_huggingface_folder(case, program, tmp_path, label):
    name, size, kind = MODELS[label]
    model = case(name, weights_size=size, num_classes=7)
    weights, folder = with_metadata(model, tmp_path / "named.safetensors"), tmp_path / "huggingface"
    document = json.loads(program("export", "--weights", weights, "--format", "huggingface", "--out", folder, "--json"))
    assert document["file"]["relative_difference"] <= TOLERANCE and document["bytes"] > 1e6
    loaded, info = transformers.AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert type(loaded) is kind
    assert not any(info.values()), f"missing or unexpected: {info}"
    assert_close(logits(loaded, model.pixels), model.logits(), TOLERANCE)
    assert loaded.config.id2label == dict(enumerate(NAMES)) and loaded.config.label2id["cat"] == 2
    # And what it writes, and what was written for it, is read here.
    for weights in (folder / "model.safetensors", tmp_path / "again" / "model.safetensors"):
        loaded.save_pretrained(tmp_path / "again")
        assert_close(predict(program, tmp_path, name, weights, model.pixels), model.logits(), TOLERANCE)


CROPS = {
    "squash": ({}, lambda mode: [transforms.Resize((64, 64), mode)]),
    "squash and crop": ({"resize_size": 73, "resize_mode": "squash"}, lambda mode: [transforms.Resize((73, 73), mode), transforms.CenterCrop(64)]),
    "shortest": ({"resize_size": 0, "resize_mode": "shortest"}, lambda mode: [transforms.Resize(64, mode), transforms.CenterCrop(64)]),
    "shortest and crop": ({"resize_size": 72, "resize_mode": "shortest"}, lambda mode: [transforms.Resize(72, mode), transforms.CenterCrop(64)]),
}


def torchvisions(crop, interpolation, image, mean, std):
    """The pixels that torchvision makes as preprocessing `crop` says, on Pillow."""
    steps = CROPS[crop][1](transforms.InterpolationMode(interpolation))
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])(image)


@pytest.mark.parametrize("interpolation, crop", [("bicubic", "squash"), *(("bilinear", crop) for crop in CROPS)])
def test_huggingface_image_processor(case, program, tmp_path, interpolation, crop):
    """The same pixels as here, through the logits: within the rounding of a resized byte, which is 1/255 before normalization."""
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    options = {"mean": mean, "std": std, "interpolation": interpolation} | CROPS[crop][0]
    weights = with_metadata(model, tmp_path / "named.safetensors", **options)
    program("export", "--weights", weights, "--format", "huggingface", "--out", tmp_path / "huggingface")
    generator = numpy.random.default_rng(0)
    image = PIL.Image.fromarray(generator.integers(0, 256, (97, 142, 3), numpy.uint8))
    expected = torchvisions(crop, interpolation, image, mean, std)
    for backend, levels in (("pil", 0), ("torchvision", 2)):  # torchvision's own resizing is up to 2 of 255 off Pillow's
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "huggingface", backend=backend)
        pixels = processor(image, return_tensors="pt")["pixel_values"][0]
        assert pixels.shape == expected.shape
        assert (pixels - expected).abs().max() < 1e-5 + levels / 255 / min(std), backend
        # Transformers would lay a transparent image on white, and this library drops the transparency: refused, not answered otherwise.
        transparent = PIL.Image.fromarray(generator.integers(0, 256, (97, 142, 4), numpy.uint8), "RGBA")
        with pytest.raises((RuntimeError, ValueError)):
            processor(transparent, return_tensors="pt")
        dropped = processor(transparent.convert("RGB"), return_tensors="pt")["pixel_values"][0]
        expected_too = torchvisions(crop, interpolation, PIL.Image.fromarray(numpy.asarray(transparent)[..., :3]), mean, std)
        assert (dropped - expected_too).abs().max() < 1e-5 + levels / 255 / min(std), backend
    config = json.loads((tmp_path / "huggingface" / "preprocessor_config.json").read_text())
    assert config["resample"] == int(PIL.Image.Resampling[interpolation.upper()])


CASES = {
    "mean pooling": ("vit_tiny_patch16_224", 64, {"global_pool": "avg"}),
    "registers": ("vit_small_patch14_reg4_dinov2", 56, {}),
}


@pytest.mark.parametrize("label", CASES)
def test_timm_folder(case, program, tmp_path, label):
    name, size, options = CASES[label]
    model = case(name, weights_size=size, num_classes=7, **options)
    weights, folder = with_metadata(model, tmp_path / "named.safetensors", std=[0.25] * 3), tmp_path / "timm"
    pool = ["--pool", options["global_pool"]] if options else []
    program("export", "--weights", weights, *pool, "--format", "timm-folder", "--out", folder)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert_close(logits(loaded, model.pixels), model.logits(), TOLERANCE)
    data = timm.data.resolve_model_data_config(loaded)
    assert data["input_size"] == (3, size, size) and list(data["std"]) == [0.25] * 3 and list(data["mean"]) == [0.5] * 3
    assert data["interpolation"] == "bicubic" and loaded.pretrained_cfg["label_names"] == NAMES


@pytest.mark.parametrize("crop", CROPS)
def test_timms_evaluation_transform(case, program, tmp_path, crop):
    """Of a timm folder: the same pixels as torchvision's, which are this program's, too."""
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    weights = with_metadata(model, tmp_path / "named.safetensors", std=[0.25] * 3, **CROPS[crop][0])
    program("export", "--weights", weights, "--format", "timm-folder", "--out", tmp_path / "timm")
    data = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True))
    image = PIL.Image.effect_mandelbrot((91, 60), (-2, -1, 1, 1), 50).convert("RGB")
    expected = torchvisions(crop, "bicubic", image, [0.5] * 3, [0.25] * 3)
    assert torch.equal(timm.data.create_transform(**data, is_training=False)(image), expected)
    image.save(tmp_path / "image.png")
    safetensors.torch.save_file({"pixels": expected[None]}, tmp_path / "pixels.safetensors")
    program("predict", "--weights", weights, "--pixels", tmp_path / "pixels.safetensors", "--logits", tmp_path / "logits.safetensors")
    wanted = safetensors.torch.load_file(tmp_path / "logits.safetensors")["logits"].softmax(1).max()
    (answer,) = json.loads(program("predict", "--weights", weights, tmp_path / "image.png", "--json"))
    assert abs(answer["predictions"][0]["probability"] - wanted) < 1e-6


def test_timm_folder_of_a_size_without_a_name(program, tmp_path):
    """timm has no vit_tiny_patch32_64, so the folder says its numbers."""
    torch.manual_seed(0)
    arguments = dict(patch_size=32, embed_dim=192, num_heads=3, img_size=64, num_classes=7)
    model = randomized(timm.create_model("vit_base_patch16_224", **arguments)).eval()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    program("export", "--model", "vit_tiny_patch32_64", "--weights", tmp_path / "weights.safetensors", "--format", "timm-folder",
            "--out", tmp_path / "timm")  # fmt: skip
    pixels = torch.randn(2, 3, 64, 64)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    assert_close(logits(loaded, pixels), logits(model, pixels), TOLERANCE)


def test_refuses_what_transformers_does_not_compute(case, tmp_path):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7, global_pool="avg")
    line = refused("export", *model.arguments(), "--pool", "avg", "--format", "huggingface", "--out", tmp_path / "out")
    assert "mean over the patches" in line
    assert not (tmp_path / "out").exists()


def test_folder_must_be_new(case, tmp_path):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    assert "not empty" in refused("export", *model.arguments(), "--format", "huggingface", "--out", tmp_path)


# ---- adapters


def draw(wrapped, kinds=("lora_", "hada_", "lokr_"), std=0.1):
    """Draws every factor and the saved head, so that all of it matters."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if any(kind in name for kind in kinds):
                parameter.normal_(0.0, std)
            elif "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return wrapped.eval()


def save(wrapped, folder, **changes):
    """Writes the adapter with PEFT, and changes entries of its configuration."""
    wrapped.save_pretrained(folder)
    if changes:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def lora(**options):
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "modules_to_save": ["head"]} | options)


BLOCK0 = r".*blocks\.0\.(attn|mlp)\.(qkv|proj|fc1|fc2)"
ADAPTERS = {
    "all": lora(target_modules=["qkv", "attn.proj", "fc1", "fc2"]),
    "qkv": lora(target_modules=["qkv"], lora_dropout=0.1),
    "no head": lora(target_modules=["fc1"], modules_to_save=None),
    "rank-stabilized": lora(target_modules=["qkv", "fc2"], use_rslora=True),
    "patterns": lora(
        target_modules=["qkv", "attn.proj", "fc1"],
        rank_pattern={"blocks.3.attn.qkv": 9, "fc1": 2},
        alpha_pattern={"^blocks.3.attn.qkv": 5, "fc1": 1.5},
    ),
    "patterns, rank-stabilized": lora(target_modules=["qkv", "fc1"], rank_pattern={"fc1": 7}, use_rslora=True),
    "one block": lora(target_modules=BLOCK0),
    "some layers": lora(target_modules=["qkv"], layers_to_transform=[1, 5], layers_pattern="blocks"),
    "loha": peft.LoHaConfig(r=3, alpha=6, target_modules=["qkv", "fc1"], modules_to_save=["head"]),
    "loha, patterns": peft.LoHaConfig(r=3, alpha=6, target_modules=["qkv", "fc1"], rank_pattern={"fc1": 5}, alpha_pattern={"fc1": 2}),
    "lokr": peft.LoKrConfig(r=4, alpha=6, target_modules=["qkv", "fc1"], modules_to_save=["head"]),
    "lokr, both": peft.LoKrConfig(r=4, alpha=6, target_modules=["qkv", "fc1"], decompose_both=True, decompose_factor=24),
}


@pytest.mark.parametrize("label", ADAPTERS)
def test_pefts_adapter_on_timm(case, program, tmp_path, label):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    plain = model.logits()
    wrapped = draw(peft.get_peft_model(model.model, ADAPTERS[label]), std=0.3 if label.startswith(("loha", "lokr")) else 0.1)
    expected = logits(wrapped, model.pixels)
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max(), "the adapter changes nothing"
    folder = save(wrapped, tmp_path / "adapter")
    assert_close(model.predict(program, "--adapter", folder), expected, TOLERANCE)
    # Written again by this program, PEFT reads it, and so does this program, which then knows the model by itself.
    program("export", *model.arguments(), "--adapter", folder, "--format", "peft", "--out", tmp_path / "again")
    base = timm.create_model(model.name, img_size=64, num_classes=7, checkpoint_path=str(model.weights))
    again = peft.PeftModel.from_pretrained(base, tmp_path / "again")
    assert_close(logits(again, model.pixels), expected, TOLERANCE)
    out = tmp_path / "again.safetensors"
    program("predict", "--weights", model.weights, "--adapter", tmp_path / "again", "--pixels", model.pixels_file, "--logits", out)
    assert_close(safetensors.torch.load_file(out)["logits"], expected, TOLERANCE)


def test_pefts_adapter_in_every_command(case, program, tmp_path):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    wrapped = draw(peft.get_peft_model(model.model, lora(target_modules=["qkv"])))
    expected = logits(wrapped, model.pixels)
    folder = save(wrapped, tmp_path / "adapter")
    wrapped.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    assert (tmp_path / "pickled" / "adapter_model.bin").exists()
    assert_close(model.predict(program, "--adapter", tmp_path / "pickled"), expected, TOLERANCE)
    merged = tmp_path / "merged.safetensors"
    program("merge", *model.arguments(), "--adapter", folder / "adapter_model.safetensors", "--out", merged)
    theirs, ours = wrapped.merge_and_unload().state_dict(), safetensors.torch.load_file(merged)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-6)
    program("export", *model.arguments(), "--adapter", folder, "--format", "huggingface", "--out", tmp_path / "merged")
    loaded = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "merged")
    assert_close(logits(loaded, model.pixels), expected, 3e-5)
    assert "q,k,v" not in program("inspect", *model.arguments(), "--adapter", folder)
    document = json.loads(program("info", folder, "--json"))
    assert document["adapter_config"]["r"] == 4 and len(document["tensors"]) == 2 * 12 + 2
    assert "lora_alpha" in program("info", folder)


def transformers_model(label, tmp_path):
    """A model of Transformers, its weights' file, and the program's name of it."""
    name, size, kind = MODELS[label]
    if label == "vit":
        config = huggingface_vit(num_labels=7)
    else:
        config = kind.config_class(hidden_size=384, num_attention_heads=6, patch_size=14, image_size=56, num_labels=7)
    model = shaken(kind(config))
    with torch.no_grad():
        model.classifier.weight[:, model.config.hidden_size :] = 0  # DINOv2's: of the mean over the patches, which no head reads here
    model.save_pretrained(tmp_path / "base")
    return kind, model, tmp_path / "base" / "model.safetensors", name, torch.randn(2, 3, size, size)


@pytest.mark.parametrize(
    "label, targets",
    [("vit", ["q_proj", "v_proj"]), ("vit", ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"]),
     ("vit", r".*layers\.(0\.attention\.q_proj|1\.attention\.v_proj|2\.mlp\.fc1)"), ("dinov2", ["q_proj", "v_proj", "fc1"]),
     ("registers", ["k_proj", "o_proj"])],
)  # fmt: skip
def test_pefts_adapter_on_transformers(program, tmp_path, label, targets):
    kind, model, weights, name, pixels = transformers_model(label, tmp_path)
    plain = logits(model, pixels)
    wrapped = draw(peft.get_peft_model(model, lora(target_modules=targets, modules_to_save=["classifier"])))
    with torch.no_grad():
        head = wrapped.base_model.model.classifier.modules_to_save["default"].weight
        head[:, model.config.hidden_size :] = 0
    expected = logits(wrapped, pixels)
    assert (expected - plain).abs().max() > 0.01 * plain.abs().max(), "the adapter changes nothing"
    folder = save(wrapped, tmp_path / "adapter")
    assert_close(predict(program, tmp_path, name, weights, pixels, "--adapter", folder), expected, TOLERANCE)
    program("export", "--model", name, "--weights", weights, "--image-size", pixels.shape[-1], "--adapter", folder,
            "--format", "peft-transformers", "--out", tmp_path / "again")  # fmt: skip
    again = peft.PeftModel.from_pretrained(kind.from_pretrained(tmp_path / "base"), tmp_path / "again")
    assert_close(logits(again, pixels), expected, TOLERANCE)


def test_older_spelling_of_transformers(program, tmp_path):
    """Adapters of Transformers 4 name the attention's layers as files still do."""
    kind, model, weights, name, pixels = transformers_model("vit", tmp_path)
    wrapped = draw(peft.get_peft_model(model, lora(target_modules=["q_proj", "o_proj", "fc1", "fc2"], modules_to_save=None)))
    expected = logits(wrapped, pixels)
    folder = save(wrapped, tmp_path / "adapter")
    path = folder / "adapter_model.safetensors"
    spelling = {"vit.layers.": "vit.encoder.layer.", "attention.q_proj": "attention.attention.query",
                "attention.o_proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}  # fmt: skip
    renamed = {}
    for key, tensor in safetensors.torch.load_file(path).items():
        for new, old in spelling.items():
            key = key.replace(new, old)
        renamed[key] = tensor
    assert "base_model.model.vit.encoder.layer.0.attention.attention.query.lora_A.weight" in renamed
    safetensors.torch.save_file(renamed, path)
    assert_close(predict(program, tmp_path, name, weights, pixels, "--adapter", folder), expected, TOLERANCE)


OURS = [("lora", "linears", {}), ("lora", "qkv,o,fc1,fc2", {}), ("lora", "q,fc1", {"blocks": "0-2,7"}),
        ("lora", "q,v,fc2", {"target_rank": 2}), ("loha", "k,v,fc1", {}), ("loha", "qkv", {}), ("lokr", "qkv,fc1", {"factor": 8})]  # fmt: skip


@torch.no_grad()
def our_adapter(model, tmp_path, program, method, targets, options):
    """An adapter of this program, with every tensor drawn: trained for a moment on one image a class, to have its layout."""
    images = tmp_path / "images"
    generator = numpy.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(7):
            (images / split / f"class{label}").mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (64, 64, 3), numpy.uint8)
            PIL.Image.fromarray(pixels).save(images / split / f"class{label}" / "one.png")
    flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", value)]
    program("train", *model.arguments(), "--data", f"imagefolder:{images}", "--method", method, "--targets", targets, "--rank", 4,
            "--alpha", 6, *flags, "--epochs", 1, "--warmup-epochs", 0, "--batch-size", 7, "--workers", 1, "--out", tmp_path / "run")  # fmt: skip
    path = tmp_path / "run" / "adapter.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    torch.manual_seed(2)
    for key, tensor in tensors.items():
        tensor.normal_(0.0, 0.3 if method in ("loha", "lokr") else 0.1)
        if key.endswith("lora_E"):  # as if these directions had been pruned; in one layer, all
            tensor.copy_(torch.where(torch.rand(tensor.shape) < 0.5, 0.0, 3 * tensor))
            if key.startswith("blocks.4.mlp.fc2."):
                tensor.zero_()
    safetensors.torch.save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize("base", ["timm", "transformers"])
@pytest.mark.parametrize("method, targets, options", OURS, ids=[" ".join([m, t, *o]) for m, t, o in OURS])
def test_our_adapter_in_peft(case, program, tmp_path, method, targets, options, base):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    adapter = our_adapter(model, tmp_path, program, method, targets, options)
    expected = model.predict(program, "--adapter", adapter)
    if base == "transformers" and method == "lokr":
        line = refused("export", *model.arguments(), "--adapter", adapter, "--format", "peft-transformers", "--out", tmp_path / "peft")
        assert "Kronecker product" in line and "blocks.0.attn.qkv" in line
        return
    document = json.loads(program("export", *model.arguments(), "--adapter", adapter, "--json", "--out", tmp_path / "peft", "--format",
                                  "peft" if base == "timm" else "peft-transformers"))  # fmt: skip
    assert document["file"]["relative_difference"] <= TOLERANCE
    if base == "timm":
        loaded = timm.create_model(model.name, img_size=64, num_classes=7, checkpoint_path=str(model.weights))
    else:
        program("export", *model.arguments(), "--format", "huggingface", "--out", tmp_path / "base")
        loaded = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "base")
    assert not (logits(loaded, model.pixels) - expected).abs().max() < 0.01 * expected.abs().max(), "the adapter changes nothing"
    wrapped = peft.PeftModel.from_pretrained(loaded, tmp_path / "peft")
    assert_close(logits(wrapped, model.pixels), expected, TOLERANCE)
    # Exactly the layers that have an adapter got one, and no factor was left where PEFT starts it.
    keys = set(safetensors.torch.load_file(tmp_path / "peft" / "adapter_model.safetensors"))
    assert set(peft.get_peft_model_state_dict(wrapped)) == keys
    if "target_rank" in options:
        assert not any("blocks.4.mlp.fc2" in key or "layers.4.mlp.fc2" in key for key in keys)
        assert any("blocks.5.mlp.fc2" in key or "layers.5.mlp.fc2" in key for key in keys)


REFUSALS = {
    "DoRA": (lora(target_modules=["qkv"], use_dora=True), {}, ["adapter_config.json", "use_dora", "DoRA"]),
    "biases": (lora(target_modules=["qkv"], bias="all"), {}, ["adapter_config.json", "bias"]),
    "lora_bias": (lora(target_modules=["qkv"], lora_bias=True), {}, ["adapter_config.json", "lora_bias"]),
    "PiSSA": (lora(target_modules=["qkv"], init_lora_weights="pissa"), {}, ["init_lora_weights", "pissa", "path_initial_model"]),
    "IA3": (peft.IA3Config(target_modules=["qkv", "fc2"], feedforward_modules=["fc2"]), {}, ["peft_type", "IA3", "LORA"]),
    "patch projection": (lora(target_modules=["patch_embed.proj"]), {}, ["patch_embed.proj.lora_A", "convolution"]),
    "head": (lora(target_modules=["qkv", "head"], modules_to_save=None), {}, ["head.lora_A", "modules_to_save"]),
    "norm": (lora(target_modules=["qkv"], modules_to_save=["norm"]), {}, ["norm.bias", "modules_to_save"]),
    "rank": (lora(target_modules=["qkv"]), {"r": 5}, ["blocks.0.attn.qkv", "rank 4", "says 5"]),
    "later version": (lora(target_modules=["qkv"]), {"use_something": True}, ["use_something", "not understood"]),
    "no number": (lora(target_modules=["qkv"]), {"lora_alpha": "much"}, ["lora_alpha", "much"]),
    "no rank": (lora(target_modules=["qkv"]), {"r": 0}, ["'r'", "at least 1"]),
    "no object": (lora(target_modules=["qkv"]), {"rank_pattern": 3}, ["rank_pattern", "object"]),
}  # fmt: skip


@pytest.mark.parametrize("label", REFUSALS)
def test_refuses_by_name(case, tmp_path, label):
    config, changes, words = REFUSALS[label]
    model = case("vit_tiny_patch16_224", weights_size=32, num_classes=4)
    folder = save(peft.get_peft_model(model.model, config), tmp_path / "adapter", **changes)
    line = refused("predict", *model.arguments(), "--adapter", folder, "--pixels", model.pixels_file, "--logits", tmp_path / "out")
    assert all(word in line for word in [str(folder), *words]), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["rlrr", "reslora-bs", "ssf"])
def test_refuses_methods_that_peft_lacks(case, program, tmp_path, method):
    model = case("vit_tiny_patch16_224", weights_size=64, num_classes=7)
    images = tmp_path / "images"
    for split in ("train", "test"):
        for label in range(7):
            (images / split / str(label)).mkdir(parents=True)
            PIL.Image.new("RGB", (64, 64), (label * 20, 0, 0)).save(images / split / str(label) / "one.png")
    program("train", *model.arguments(), "--data", f"imagefolder:{images}", "--method", method, "--epochs", 1, "--warmup-epochs", 0,
            "--batch-size", 7, "--workers", 1, "--out", tmp_path / "run")  # fmt: skip
    line = refused("export", "--run", tmp_path / "run", "--format", "peft", "--out", tmp_path / "peft")
    assert method in line and not (tmp_path / "peft").exists(), line
