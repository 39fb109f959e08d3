"""Augmented images against timm's own operations: every value; and what is drawn at random against timm's draws."""

import itertools
import random

import numpy
import pytest
import safetensors.torch
import scipy.stats
import torch
from PIL import Image
from timm.data import auto_augment
from timm.data.mixup import Mixup, cutmix_bbox_and_lam, mixup_target
from timm.data.random_erasing import RandomErasing
from timm.utils import ModelEmaV2

import golden
from golden import photograph
from test_pixels import FILTERS

FILL = (124, 116, 104)  # ImageNet's mean, as timm rounds it
TIMM_NAMES = {"TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel"}
SIGNIFICANCE = 1e-4  # draws are seeded: a test that passes goes on passing


def images(folder):
    """Photographs, noise, and images on which operations have special cases."""
    generator = numpy.random.default_rng(0)
    cases = {
        "photo": photograph(61, 47),
        "dark": photograph(40, 56, seed=1) // 3 + 20,
        "noise": generator.integers(0, 256, (33, 48, 3)),
        "extremes": generator.choice([0, 255], (31, 31, 3)),
        "flat": numpy.full((20, 24, 3), 77),
        "two": numpy.where(generator.random((30, 30, 3)) < 0.03, 200, 10),
        "thin": generator.integers(0, 256, (2, 37, 3)),
        "dot": generator.integers(0, 256, (1, 1, 3)),
    }
    for name, pixels in cases.items():
        Image.fromarray(pixels.astype(numpy.uint8)).save(folder / f"{name}.png")
        yield folder / f"{name}.png"


# ------------------------------------------------------------------------------------------------------- operations

ARGUMENTS = {
    "AutoContrast": [0],
    "Equalize": [0],
    "Invert": [0],
    "Rotate": [0, 3.7, -3.7, 27, -30, 45, 90, -90, 180, 270, 1e-9, -1e-20],
    "Posterize": [1, 2, 3, 4, 7, 8],
    "Solarize": [0, 1, 26, 128, 255, 256],
    "SolarizeAdd": [0, 1, 99, 110, 128],
    "Color": [0, 0.1, 0.37, 1, 1.63, 1.9],
    "Contrast": [0, 0.1, 0.37, 1, 1.63, 1.9],
    "Brightness": [0, 0.1, 0.37, 1, 1.63, 1.9],
    "Sharpness": [0, 0.1, 0.37, 1, 1.63, 1.9],
    "ShearX": [0, 0.27, -0.27, 0.3, 0.05123],
    "ShearY": [0, 0.27, -0.27, 0.3, 0.05123],
    "TranslateX": [0, 0.405, -0.405, 0.45, 0.01, 0.5],
    "TranslateY": [0, 0.405, -0.405, 0.45, 0.01, 0.5],
}


def timms(name, image, argument, resample):
    """What timm's function of an operation makes of an image."""
    arguments = () if name in ("AutoContrast", "Equalize", "Invert") else (argument,)
    return auto_augment.NAME_TO_OP[TIMM_NAMES.get(name, name)](image, *arguments, fillcolor=FILL, resample=resample)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_operation_equals_timms_in_every_value(tmp_path, name):
    jobs, expected = [], []
    for path, argument, (filter, resampling) in itertools.product(images(tmp_path), ARGUMENTS[name], FILTERS.items()):
        jobs.append(("apply", path, tmp_path / f"{len(jobs)}.ppm", name, repr(argument), filter, ",".join(map(str, FILL))))
        expected.append(numpy.array(timms(name, Image.open(path), argument, resampling)))
    changed = 0
    for job, answer, wanted in zip(jobs, golden.run_jobs(jobs, "augment"), expected):
        assert answer == "ok", answer
        result = numpy.array(Image.open(job[2]))
        changed += not numpy.array_equal(wanted, numpy.array(Image.open(job[1])))
        assert numpy.array_equal(result, wanted), f"{job}: {(result != wanted).sum()} of {wanted.size} values differ"
    assert changed > len(jobs) // 3, "most images were left as they are"


def test_moving_pixels_equals_timms_at_random_arguments(tmp_path):
    generator = numpy.random.default_rng(5)
    Image.fromarray(photograph(224, 224)).save(tmp_path / "photo.png")
    names = {"Rotate": 60, "ShearX": 0.4, "ShearY": 0.4, "TranslateX": 0.6, "TranslateY": 0.6}
    jobs, expected = [], []
    for (name, limit), (filter, resampling), _ in itertools.product(names.items(), FILTERS.items(), range(4)):
        argument = float(generator.uniform(-limit, limit))
        path = tmp_path / f"{len(jobs)}.ppm"
        jobs.append(("apply", tmp_path / "photo.png", path, name, repr(argument), filter, ",".join(map(str, FILL))))
        expected.append(timms(name, Image.open(tmp_path / "photo.png"), argument, resampling))
    for job, answer, wanted in zip(jobs, golden.run_jobs(jobs, "augment"), expected):
        assert answer == "ok", answer
        assert numpy.array_equal(numpy.array(Image.open(job[2])), numpy.array(wanted)), job


def test_no_bits_is_black(tmp_path):
    """timm's PosterizeIncreasing keeps 0 bits at magnitude 10: black before Pillow 13, which raises an error."""
    Image.fromarray(photograph(20, 10)).save(tmp_path / "in.png")
    assert golden.run_jobs([("apply", tmp_path / "in.png", tmp_path / "out.ppm", "Posterize", 0, "bicubic", "0,0,0")], "augment") == ["ok"]
    assert not numpy.array(Image.open(tmp_path / "out.ppm")).any()


# ----------------------------------------------------------------------------------------------------------- policy


def as_steps(text):
    steps = [step.split(":") for step in text.split()]
    return [(name, float(argument), filter) for name, argument, filter in steps]


def our_steps(config, count, seed=1):
    """For each of `count` images the steps drawn: (name, argument, filter)."""
    (answer,) = golden.run_jobs([("policy", config, seed, count)], "augment")
    assert not answer.startswith("error"), answer
    steps = [as_steps(image) for image in answer.split("|")[:-1]]
    assert len(steps) == count
    return steps


def timms_steps(config, count):
    """The same of timm: its policy with each operation's function replaced by one that notes how it is called."""
    random.seed(3), numpy.random.seed(3)
    policy = auto_augment.rand_augment_transform(config)
    short = {name: own for own, name in TIMM_NAMES.items()}

    def noting(operation):
        name = operation.name.removesuffix("Increasing")

        def note(taken, *arguments, resample, **_):
            drawn = "bilinear" if random.choice(resample) == Image.Resampling.BILINEAR else "bicubic"
            return [*taken, (short.get(name, name), float(arguments[0] if arguments else 0), drawn)]

        return note

    for operation in policy.ops:
        operation.aug_fn = noting(operation)
    return [policy([]) for _ in range(count)]


def same_counts(ours, theirs, what):
    """Whether two samples come from one distribution of categories."""
    names = sorted(set(ours) | set(theirs), key=str)
    table = numpy.array([[sample.count(name) for name in names] for sample in (ours, theirs)])
    table = table[:, table.sum(0) >= 10]
    assert table.shape[1] == 1 or scipy.stats.chi2_contingency(table).pvalue > SIGNIFICANCE, f"{what}: {names}\n{table}"


@pytest.mark.parametrize("config", ["rand-m9-mstd0.5-inc1", "rand-m7-n3-p0.8", "rand-m9-mstd101", "rand-m6-tweights-mstd1", "rand-n1-m14-mstd2-mmax15-inc1"])
def test_the_policy_draws_as_timms(config):
    ours, theirs = our_steps(config, 5000), timms_steps(config, 5000)
    same_counts([len(image) for image in ours], [len(image) for image in theirs], "operations an image")
    ours, theirs = sum(ours, []), sum(theirs, [])
    same_counts([name for name, _, _ in ours], [name for name, _, _ in theirs], "operations")
    for name in ARGUMENTS:
        mine, timms = ([argument for n, argument, _ in steps if n == name] for steps in (ours, theirs))
        if not timms:
            continue
        same_counts([a < 0 for a in mine], [a < 0 for a in timms], f"signs of {name}")
        if len(set(timms)) > 2 and min(len(mine), len(timms)) > 20:
            assert scipy.stats.ks_2samp(mine, timms).pvalue > SIGNIFICANCE, name
    moved = [filter for name, _, filter in ours if name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")]
    same_counts(moved, ["bilinear", "bicubic"] * (len(moved) // 2), "filters")


@pytest.mark.parametrize("magnitude", range(0, 11))
@pytest.mark.parametrize("increasing", [0, 1])
def test_arguments_at_a_magnitude_are_timms(magnitude, increasing):
    """Without noise there are at most two arguments an operation, and they must be the very numbers."""
    config = f"rand-m{magnitude}-inc{increasing}-n5-p1"
    found = [{}, {}]
    for arguments, images in zip(found, (our_steps(config, 200), timms_steps(config, 200))):
        for name, argument, _ in sum(images, []):
            arguments.setdefault(name, set()).add(argument)
    assert found[0] == found[1] and len(found[0]) == 15


def test_wrong_policies_are_refused():
    cases = {
        "original-mstd0.5": "must begin with 'rand'",
        "rand-m9.5": "'m' needs a whole number",
        "rand-m": "'m' needs a whole number",
        "rand-mst0.5": "did you mean 'mstd'",
        "rand-p1.5": "must be in 0 … 1",
        "rand-n0": "must be in 1 … 100",
        "rand-inc2": "must be in 0 … 1",
        "rand-t3a": "known: tweights",
        "rand-n16-tweights": "without replacement among 15",
    }
    for config, answer in zip(cases, golden.run_jobs([("policy", config, 1, 1) for config in cases], "augment")):
        assert answer.startswith(f"error RandAugment '{config}': ") and cases[config] in answer, answer


# ---------------------------------------------------------------------------------------------------- random erasing


def our_boxes(height, width, count, probability, rectangles):
    (answer,) = golden.run_jobs([("boxes", height, width, 1, count, probability, rectangles)], "augment")
    return [[tuple(map(int, box.split(":"))) for box in image.split()] for image in answer.split("|")[:-1]]


class Noting:
    """Stands for an image: notes the rectangles that are assigned to it."""

    def __init__(self):
        self.boxes = []

    def __setitem__(self, key, value):
        _, rows, columns = key
        self.boxes.append((rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start))


def timms_boxes(height, width, count, probability, rectangles):
    random.seed(3)
    erasing = RandomErasing(probability, max_count=rectangles, device="cpu")
    drawn = []
    for _ in range(count):
        image = Noting()
        erasing._erase(image, 3, height, width, torch.float32)
        drawn.append(image.boxes)
    return drawn


@pytest.mark.parametrize("height, width, probability, rectangles", [(224, 224, 0.25, 1), (56, 80, 0.9, 1), (32, 32, 1.0, 3)])
def test_erased_boxes_are_drawn_as_timms(height, width, probability, rectangles):
    arguments = (height, width, 5000, probability, rectangles)
    ours, theirs = our_boxes(*arguments), timms_boxes(*arguments)
    same_counts([len(boxes) for boxes in ours], [len(boxes) for boxes in theirs], "rectangles an image")
    ours, theirs = (numpy.array(sum(boxes, []), float) for boxes in (ours, theirs))
    assert (ours[:, 0] + ours[:, 2] <= height).all() and (ours[:, 1] + ours[:, 3] <= width).all() and (ours[:, :2] >= 0).all()
    for name, measure in {
        "area": lambda b: b[:, 2] * b[:, 3],
        "aspect": lambda b: b[:, 2] / b[:, 3],
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "bottom": lambda b: b[:, 0] + b[:, 2],
        "right": lambda b: b[:, 1] + b[:, 3],
    }.items():
        assert scipy.stats.ks_2samp(measure(ours), measure(theirs)).pvalue > SIGNIFICANCE, name


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_what_is_erased_is_filled_as_timms(tmp_path, mode):
    """const: 0; rand: one normal number a channel; pixel: one a value. The rest stays."""
    jobs = [("erase", tmp_path / f"{seed}.bin", 40, seed, mode) for seed in range(300)]
    assert golden.run_jobs(jobs, "augment") == ["ok"] * len(jobs)
    drawn = []
    for job in jobs:
        image = numpy.fromfile(job[1], numpy.float32).reshape(3, 40, 40)
        rows, columns = numpy.nonzero((image != 1).any(0))
        box = image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].reshape(3, -1)
        assert (box != 1).all() and (image != 1).any(0).sum() == box.shape[1]
        if mode == "const":
            assert (box == 0).all()
        elif mode == "rand":
            assert (box == box[:, :1]).all()
            drawn.extend(box[:, 0])
        else:
            drawn.extend(box.flatten())
    if drawn:
        assert len(set(drawn)) > 0.99 * len(drawn)
        assert scipy.stats.kstest(drawn, "norm").pvalue > SIGNIFICANCE


# -------------------------------------------------------------------------------------------- Mixup, CutMix, the average


@pytest.mark.parametrize(
    "mixup, cutmix, prob, switch_prob, height, width",
    [(0.8, 1.0, 1.0, 0.5, 224, 224), (0.2, 0.0, 0.7, 0.5, 32, 32), (0.0, 1.0, 1.0, 0.5, 56, 80), (1.0, 0.3, 0.9, 0.8, 14, 14), (2.5, 0, 1, 0, 8, 8)],
)
def test_mixing_is_drawn_as_timms(mixup, cutmix, prob, switch_prob, height, width):
    count = 5000
    (answer,) = golden.run_jobs([("mixes", mixup, cutmix, prob, switch_prob, height, width, 1, count)], "augment")
    ours = [[float(part) for part in draw.split(":")] for draw in answer.split()]
    numpy.random.seed(3)
    timms, theirs = Mixup(mixup, cutmix, prob=prob, switch_prob=switch_prob), []
    for _ in range(count):
        lam, use_cutmix = timms._params_per_batch()
        box = ()
        if use_cutmix and lam != 1.0:
            box, lam = cutmix_bbox_and_lam((3, height, width), lam)
        theirs.append([lam, *box])
    assert len(ours) == count
    kinds = [["cutmix" if len(d) == 5 else "none" if d[0] == 1.0 else "mixup" for d in draws] for draws in (ours, theirs)]
    same_counts(*kinds, "kinds of mixing")
    for kind in set(kinds[1]) - {"none"}:
        mine, timms = (numpy.array([d for d, k in zip(draws, ks) if k == kind]) for draws, ks in zip((ours, theirs), kinds))
        for column in range(mine.shape[1]):
            assert scipy.stats.ks_2samp(mine[:, column], timms[:, column]).pvalue > SIGNIFICANCE, (kind, column)


@pytest.mark.parametrize("box", [None, (3, 9, 0, 7)])
@pytest.mark.parametrize("lam", [0.3, 0.123456789, 0.9999])
def test_a_mixed_batch_equals_timms_in_every_bit(tmp_path, monkeypatch, lam, box):
    torch.manual_seed(1)
    images, labels = torch.randn(6, 3, 12, 10), torch.randint(7, (6,))
    safetensors.torch.save_file({"images": images, "labels": labels}, tmp_path / "in.safetensors")
    where = ":".join(map(str, box)) if box else "-"
    assert golden.run_jobs([("mix", tmp_path / "in.safetensors", tmp_path / "out.safetensors", lam, where, 7, 0.1)], "augment") == ["ok"]
    result = safetensors.torch.load_file(tmp_path / "out.safetensors")
    mixup = Mixup(mixup_alpha=1.0, label_smoothing=0.1, num_classes=7)
    monkeypatch.setattr(mixup, "_params_per_batch", lambda: (lam, box is not None))
    monkeypatch.setattr("timm.data.mixup.cutmix_bbox_and_lam", lambda *_, **__: (box, lam))
    expected, targets = mixup(images.clone(), labels)
    assert not torch.equal(expected, images)
    assert torch.equal(result["images"], expected)
    assert torch.equal(result["targets"], targets) and torch.equal(targets, mixup_target(labels, 7, lam, 0.1))


@pytest.mark.parametrize("decay", [0.5, 0.99, 0.9998])
def test_the_moving_average_equals_timms_in_every_bit(tmp_path, decay):
    torch.manual_seed(1)
    steps = torch.randn(50, 37).cumsum(0)
    safetensors.torch.save_file({"steps": steps}, tmp_path / "in.safetensors")
    assert golden.run_jobs([("ema", tmp_path / "in.safetensors", tmp_path / "out.safetensors", decay)], "augment") == ["ok"]
    model = torch.nn.ParameterList([steps[0].clone()])
    ema = ModelEmaV2(model, decay)
    for step in steps[1:]:
        with torch.no_grad():
            model[0].copy_(step)
        ema.update(model)
    assert not torch.equal(ema.module[0], model[0])
    assert torch.equal(safetensors.torch.load_file(tmp_path / "out.safetensors")["ema"], ema.module[0].detach())


# --------------------------------------------------------------------------------------------------------- the order


def test_transforms_come_in_timms_order(tmp_path):
    """Resize, flip, RandAugment, normalize, erase: one image's steps, drawn by us, taken by timm's and torchvision's functions."""
    Image.fromarray(photograph(90, 70)).save(tmp_path / "in.png")
    config, size = "rand-m9-n3-p1-inc1", 48
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    jobs = [("train", tmp_path / "in.png", tmp_path / f"{seed}.bin", size, seed, config, 1.0) for seed in range(8)]
    flips = 0
    for job, answer in zip(jobs, golden.run_jobs(jobs, "augment")):
        flip, steps = answer.split("|")
        image = Image.open(tmp_path / "in.png").resize((size, size), Image.Resampling.BICUBIC)
        if flip == "1":
            image, flips = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), flips + 1
        for name, argument, filter in as_steps(steps):
            argument = int(argument) if name in ("Posterize", "Solarize", "SolarizeAdd") else argument
            image = timms(name, image, argument, FILTERS[filter])
        expected = (torch.from_numpy(numpy.array(image)).permute(2, 0, 1).float().div(255) - mean) / std
        result = torch.from_numpy(numpy.fromfile(job[2], numpy.float32).reshape(3, size, size))
        erased = (result == 0).all(0)
        assert 0 < erased.sum() < size * size / 2
        assert torch.equal(result[:, ~erased], expected[:, ~erased]), job
    assert 0 < flips < len(jobs)
