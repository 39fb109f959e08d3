"""Weights and configurations as other programs leave them: taken as they are meant, or refused by name."""

import argparse
import json
import pathlib
import re
import subprocess

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import timm
import torch
import torchvision
import transformers
from conftest import assert_close, built
from test_io import huggingface_vit, predict, shaken
from test_weight_formats import NAME, google_arrays, refused, timm_model

TOLERANCE = 3e-5


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """A folder that does not load is an error and not a request to the Hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@torch.inference_mode()
def check(program, folder, weights, model, *arguments):
    pixels = torch.randn(2, 3, 64, 64)
    assert_close(predict(program, folder, NAME, weights, pixels, *arguments), model(pixels), TOLERANCE)


def state_of(model, prefix=""):
    return {prefix + key: value.clone() for key, value in model.state_dict().items()}


def error_of(*arguments):
    done = subprocess.run([built("RESPEFT_PROGRAM", "bin/respeft"), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    return done.stderr


# ---- names


def torchvision_vit(**options):
    sizes = dict(image_size=64, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=5)
    with torch.no_grad():
        return shaken(torchvision.models.vision_transformer.VisionTransformer(**sizes | options))


def test_torchvision_vit(program, tmp_path):
    model = torchvision_vit()
    torch.save(model.state_dict(), tmp_path / "new.pth")
    check(program, tmp_path, tmp_path / "new.pth", model)
    # As its files up to version 0.12 and the published ones call the MLP's layers; torchvision renames them when it loads.
    old = {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for key, v in model.state_dict().items()}
    torch.save(old, tmp_path / "old.pth")
    check(program, tmp_path, tmp_path / "old.pth", model)


def test_torchvision_head_behind_a_representation_layer_is_left_out(program, tmp_path):
    model = torchvision_vit(representation_size=16)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    out = tmp_path / "timm.safetensors"
    program("export", "--format", "timm", "--model", NAME, "--weights", tmp_path / "w.pth", "--image-size", 64, "--num-classes", 5,
            "--out", out)  # fmt: skip
    ours = safetensors.torch.load_file(out)
    assert torch.equal(ours["norm.weight"], model.encoder.ln.weight) and ours["head.weight"].shape == (5, 192)


@pytest.mark.parametrize("prefix", ["model.", "net.", "module.", "backbone.", "_orig_mod.", "model._orig_mod.module.", "module.model.backbone."])
def test_prefixes_of_every_name(program, tmp_path, prefix):
    model = timm_model()
    torch.save({"state_dict": state_of(model, prefix), "epoch": 3}, tmp_path / "last.ckpt")
    check(program, tmp_path, tmp_path / "last.ckpt", model)


def test_prefix_of_huggingface_names(program, tmp_path):
    model = shaken(transformers.ViTForImageClassification(huggingface_vit(num_labels=5)))
    torch.save({"state_dict": state_of(model, "model.")}, tmp_path / "last.ckpt")
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert_close(predict(program, tmp_path, NAME, tmp_path / "last.ckpt", pixels), model(pixels).logits, TOLERANCE)


def test_two_models_under_prefixes(program, tmp_path):
    student, teacher = timm_model(), shaken(timm_model())
    safetensors.torch.save_file(state_of(student, "student.") | state_of(teacher, "teacher."), tmp_path / "both.safetensors")
    refused(tmp_path / "both.safetensors", "'student.' and 'teacher.'")
    check(program, tmp_path, tmp_path / "both.safetensors", teacher, "--state-dict", "teacher")
    line = error_of("predict", "--model", NAME, "--weights", tmp_path / "both.safetensors", "--state-dict", "ema", "x.png")
    assert "'ema.'" in line


def test_a_tensor_beside_a_wrapped_model_is_named(tmp_path):
    state = state_of(timm_model(), "model.") | {"criterion.weight": torch.ones(5)}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", "'criterion.weight'")


# ---- checkpoints


def test_a_state_dict_is_chosen_by_name(program, tmp_path):
    """As timm's train.py writes it with --model-ema; timm's load_checkpoint takes the averages."""
    model, averages = timm_model(), shaken(timm_model())
    path = tmp_path / "model_best.pth.tar"
    torch.save({"state_dict": state_of(model), "state_dict_ema": state_of(averages), "args": argparse.Namespace(lr=1e-3)}, path)
    check(program, tmp_path, path, averages, "--state-dict", "state_dict_ema")
    check(program, tmp_path, path, model, "--state-dict", "state_dict")
    line = error_of("predict", "--model", NAME, "--weights", path, "--image-size", 64, "x.png")
    assert "'state_dict', 'state_dict_ema'" in line
    line = error_of("predict", "--model", NAME, "--weights", path, "--state-dict", "ema", "x.png")
    assert "no state dict 'ema'" in line and "'state_dict_ema'" in line


@pytest.mark.parametrize("with_objects", [False, True])
def test_advice_about_several_state_dicts_works(program, tmp_path, with_objects):
    model, path = timm_model(), tmp_path / "both.pth"
    more = {"args": argparse.Namespace(lr=1e-3)} if with_objects else {}
    torch.save({"state_dict": state_of(model), "state_dict_ema": state_of(shaken(timm_model()))} | more, path)
    line = error_of("info", path)
    advice = re.search(r"torch\.save\(torch\.load\(FILE, weights_only=\w+\)\['state_dict'\], NEW\)", line)
    assert advice, line
    exec(advice[0], {"torch": torch, "FILE": path, "NEW": tmp_path / "new.pth"})
    check(program, tmp_path, tmp_path / "new.pth", model)


def test_advice_about_old_pickles_works(program, tmp_path):
    model, path = timm_model(), tmp_path / "old.pth"
    torch.save(state_of(model), path, _use_new_zipfile_serialization=False)
    advice = re.search(r"torch\.save\(torch\.load\(FILE, weights_only=True\), NEW\)", error_of("info", path))
    assert advice
    exec(advice[0], {"torch": torch, "FILE": path, "NEW": tmp_path / "new.pth"})
    check(program, tmp_path, tmp_path / "new.pth", model)


def test_pickles_of_other_programs_are_told_apart(tmp_path):
    import pickle

    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"model": {"a": np.ones(3)}}))
    assert "another program than PyTorch" in error_of("info", tmp_path / "model.pkl")


def test_generators_and_metrics_are_no_models(program, tmp_path):
    model = timm_model()
    beside = {
        "rng": {"rng_state": {"cpu": torch.get_rng_state()}},
        "metrics": {"metrics": {"best_acc1": torch.tensor(71.5), "per_class": torch.rand(5), "loss": 0.4}},
        "flat": {"model_rng": torch.get_rng_state(), "best_acc1": torch.tensor(71.5)},
        "optimizer": {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3, 3)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}},
    }
    for name, more in beside.items():
        torch.save({"model": state_of(model), "epoch": 3} | more, tmp_path / f"{name}.pth")
        check(program, tmp_path, tmp_path / f"{name}.pth", model)


# ---- models that are others


def test_distilled_deit_is_named(tmp_path):
    model = timm.models.deit.VisionTransformerDistilled(img_size=64, patch_size=16, embed_dim=192, depth=12, num_heads=3, num_classes=5)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "deit.safetensors")
    refused(tmp_path / "deit.safetensors", "distilled DeiT", "dist_token")
    config = transformers.DeiTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, image_size=64, num_labels=5)
    transformers.DeiTForImageClassification(config).save_pretrained(tmp_path / "hf")
    refused(tmp_path / "hf", "distilled DeiT")


def test_google_arrays_of_other_heads_are_refused(tmp_path):
    np.savez(tmp_path / "six.npz", **google_arrays(timm_model(num_heads=6)))
    refused(tmp_path / "six.npz", "6 heads", "has 3")


def test_a_head_that_is_no_matrix_is_named(tmp_path):
    state = timm_model().state_dict() | {"head.weight": torch.ones(5)}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", "'head.weight' has shape [5]")
    assert "'head.weight' has shape [5]" in error_of("predict", "--model", NAME, "--weights", tmp_path / "w.safetensors", "x.png")


# ---- configurations of timm


def timm_folder(folder, model, model_args=None, **pretrained):
    """As timm.models.save_for_hf writes it."""
    folder.mkdir()
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    pretrained = {"input_size": [3, 64, 64], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bicubic",
                  "crop_pct": 0.9, "num_classes": 5, "classifier": "head", "first_conv": "patch_embed.proj"} | pretrained  # fmt: skip
    config = {"architecture": NAME, "num_classes": 5, "num_features": 192, "pretrained_cfg": pretrained}
    if model_args is not None:
        config["model_args"] = model_args
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "model_args, named",
    [
        ({"num_heads": 6}, "'num_heads' is 6"),
        ({"act_layer": "quick_gelu"}, "'act_layer' is \"quick_gelu\""),
        ({"norm_layer": "rmsnorm"}, "'norm_layer' is \"rmsnorm\""),
        ({"norm_eps": 1e-2}, "'norm_eps' is 0.01"),
        ({"pre_norm": True}, "'pre_norm' is true"),
        ({"qk_norm": True}, "'qk_norm' is true"),
        ({"rope_theta": 100.0}, "'rope_theta'"),
    ],
)
def test_timm_folder_of_another_model_is_refused(tmp_path, model_args, named):
    refused(timm_folder(tmp_path / "timm", timm_model(), model_args), "config.json", named)


def test_timm_folder_of_another_architecture_is_refused(tmp_path):
    folder = timm_folder(tmp_path / "timm", timm_model())
    config = json.loads((folder / "config.json").read_text()) | {"architecture": "vit_tiny_patch16_clip_quickgelu_224"}
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "quickgelu")


def picture(tmp_path, size=(97, 142)):
    path = tmp_path / "picture.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def probabilities(program, weights, image, *arguments):
    document = json.loads(program("predict", "--model", NAME, "--weights", weights, "--json", *arguments, image))
    predictions = sorted(document[0]["predictions"], key=lambda found: found["index"])
    return torch.tensor([found["probability"] for found in predictions]), [found["class"] for found in predictions]


@pytest.mark.parametrize("options", [{}, {"crop_mode": "squash"}, {"interpolation": "bilinear", "crop_pct": 1.0}, {"crop_pct": 0.8}])
def test_timm_folder_says_how_images_are_prepared(program, tmp_path, options):
    """timm's own evaluation transform and model give the same probabilities."""
    names = ["ant", "bee", "cow", "dog", "eel"]
    model = timm_model()
    folder = timm_folder(tmp_path / "timm", model, {"img_size": 64}, label_names=names, **options)
    image = picture(tmp_path)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=loaded.pretrained_cfg, model=loaded))
    with torch.inference_mode():
        expected = loaded(transform(PIL.Image.open(image).convert("RGB"))[None]).softmax(-1)[0]
    ours, found = probabilities(program, folder, image)
    assert found == names
    assert (ours - expected).abs().max() < 1e-4


@pytest.mark.parametrize("options, named", [({"interpolation": "lanczos"}, "interpolation"), ({"crop_mode": "border"}, "crop_mode"), ({"input_size": [3, 64, 80]}, "input_size")])
def test_timm_preprocessing_that_is_not_done_here_is_refused(tmp_path, options, named):
    folder = timm_folder(tmp_path / "timm", timm_model(), **options)
    line = error_of("predict", "--model", NAME, "--weights", folder, picture(tmp_path))
    assert "config.json" in line and f"'{named}'" in line


# ---- configurations of Transformers


def huggingface_folder(folder, processor, **config):
    model = shaken(transformers.ViTForImageClassification(huggingface_vit(layer_norm_eps=1e-6, **{"num_labels": 5} | config)))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


SQUARE = {"height": 64, "width": 64}
VIT = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": SQUARE, "resample": 2, "do_rescale": True,
       "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
BIT = VIT | {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 72}, "crop_size": SQUARE, "do_center_crop": True,
             "resample": 3, "do_convert_rgb": True}  # fmt: skip
PROCESSORS = {
    "squash": VIT,
    "bicubic": VIT | {"resample": 3},
    "not normalized": VIT | {"do_normalize": False},
    "another range": VIT | {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
    "bytes": VIT | {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3},
    "shortest": BIT,
    "squash and crop": VIT | {"image_processor_type": "DeiTImageProcessor", "size": {"height": 72, "width": 72}, "crop_size": SQUARE, "do_center_crop": True},
    "ImageNet": VIT | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
}


def transformers_probabilities(folder, model, image):
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.inference_mode():
        return model(**processor(PIL.Image.open(image).convert("RGB"), return_tensors="pt")).logits.softmax(-1)[0]


@pytest.mark.parametrize("label", PROCESSORS)
def test_huggingface_processor_is_taken(program, tmp_path, label):
    folder, image = tmp_path / "hf", picture(tmp_path)
    model = huggingface_folder(folder, PROCESSORS[label])
    ours, _ = probabilities(program, folder, image)
    assert (ours - transformers_probabilities(folder, model, image)).abs().max() < 1e-4


def test_huggingface_processor_of_the_first_versions(program, tmp_path):
    """Without a type of today, with a number as its size, and silent on what it always did."""
    old = {"feature_extractor_type": "ViTFeatureExtractor", "do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3,
           "image_std": [0.5] * 3, "resample": 2, "size": 64}  # fmt: skip
    folder, image = tmp_path / "hf", picture(tmp_path)
    model = huggingface_folder(folder, VIT)
    expected = transformers_probabilities(folder, model, image)
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    ours, _ = probabilities(program, folder, image)
    assert (ours - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"resample": 1}, "resample"),
        ({"size": {"height": 64, "width": 96}}, "size"),
        ({"size": {"longest_edge": 64}}, "size"),
        ({"image_processor_type": "SamImageProcessor"}, "image_processor_type"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"do_normalize": "no"}, "do_normalize"),
    ],
)
def test_huggingface_processor_that_is_not_done_here_is_refused(tmp_path, changes, named):
    huggingface_folder(tmp_path / "hf", VIT | changes)
    line = error_of("predict", "--model", NAME, "--weights", tmp_path / "hf", picture(tmp_path))
    assert "preprocessor_config.json" in line and f"'{named}'" in line


def test_huggingface_config_says_size_and_names(program, tmp_path):
    names = ["ant", "bee", "cow", "dog", "eel"]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    image, folder = picture(tmp_path), tmp_path / "hf"
    model = shaken(transformers.ViTForImageClassification(transformers.ViTConfig(
        hidden_size=192, num_attention_heads=3, intermediate_size=768, image_size=48, layer_norm_eps=1e-6, **labels)))  # fmt: skip
    model.save_pretrained(folder)
    ours, found = probabilities(program, folder, image)  # without a processor: 0.5, bicubic, squashed to the model's size
    assert found == names
    pixels = np.asarray(PIL.Image.open(image).resize((48, 48), PIL.Image.Resampling.BICUBIC), np.float32) / 255
    with torch.inference_mode():
        expected = model(torch.from_numpy((pixels - 0.5) / 0.5).permute(2, 0, 1)[None]).logits.softmax(-1)[0]
    assert (ours - expected).abs().max() < 1e-4
    config = json.loads(pathlib.Path(folder / "config.json").read_text())
    del config["id2label"]["2"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "no name of class 2" in error_of("predict", "--model", NAME, "--weights", folder, image)
