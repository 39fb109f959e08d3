"""Logits against timm's, for the same weights and pixels."""

import pytest
from conftest import assert_close

TOLERANCE = 3e-5  # of the largest logit; timm's own float32 error is under 5e-6

CASES = {
    "tiny": ("vit_tiny_patch16_224", {}),
    "small": ("vit_small_patch16_224", {"num_classes": 10}),
    "base": ("vit_base_patch16_224", {"num_classes": 100, "batch": 2}),
    "base, patch 32": ("vit_base_patch32_224", {"num_classes": 21}),
    "small, patch 8, small images": ("vit_small_patch8_224", {"weights_size": 64, "num_classes": 5}),
    "DINOv2": ("vit_small_patch14_dinov2", {"weights_size": 56, "num_classes": 10}),
    "DINOv2, positions of 518 pixels at 56": ("vit_small_patch14_dinov2", {"image_size": 56, "num_classes": 10}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"weights_size": 70, "num_classes": 10}),
    "registers, positions resampled": ("vit_small_patch14_reg4_dinov2", {"image_size": 98, "num_classes": 10}),
    "smaller images": ("vit_tiny_patch16_224", {"image_size": 96, "num_classes": 10}),
    "larger images": ("vit_tiny_patch16_224", {"image_size": 288, "num_classes": 10}),
}


@pytest.mark.parametrize("label", CASES)
def test_logits_equal_timms(case, program, label):
    name, options = CASES[label]
    model = case(name, **options)
    assert_close(model.predict(program), model.logits(), TOLERANCE)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_dinov2"])
def test_mean_pooling_equals_timms(case, program, name):
    model = case(name, weights_size=112, num_classes=10, global_pool="avg")
    assert_close(model.predict(program, "--pool", "avg"), model.logits(), TOLERANCE)
