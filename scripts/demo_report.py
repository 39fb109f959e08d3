#!/usr/bin/env python3
"""The demo's Python side: reads the images with Pillow, runs the exported model with PyTorch alone, compares, draws."""

import argparse
import json
import os
import pathlib
import sys
import warnings

import fashion_mnist
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

os.environ.setdefault("MPLCONFIGDIR", str(pathlib.Path("build") / "matplotlib"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 56
GOOD, BAD, ACCENTS = "#1b7837", "#b2182b", ("#7f7f7f", "#2166ac")
warnings.filterwarnings("ignore", category=FutureWarning, module="torch.jit")
TOLERANCE = 1e-4  # of the largest logit


def test_images(data, count):
    """The first `count` test images of a dataset, `[H, W]` or `[H, W, 3]` each, and their labels."""
    kind, _, folder = data.partition(":")
    if kind == "fashion-mnist":
        images, labels = fashion_mnist.load("t10k", folder)
        return list(images[:count]), labels[:count]
    lines = [line.rsplit(" ", 1) for line in (pathlib.Path(folder) / "test.txt").read_text().splitlines()[:count]]
    images = [np.asarray(Image.open(pathlib.Path(folder) / path).convert("RGB")) for path, _ in lines]
    return images, np.array([int(label) for _, label in lines])


def pixels(arguments):
    """Writes the test images as a model reads them, made by Pillow and numpy: an independent view of the preprocessing."""
    images, _ = test_images(arguments.data, arguments.count)
    resized = [Image.fromarray(image).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC) for image in images]
    colors = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).permute(0, 3, 1, 2).float().div(255)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    save_file({"pixels": ((colors - mean) / std).contiguous()}, arguments.out)


def load_exported(path):
    extra = {"class_names.json": ""}
    module = torch.jit.load(path, _extra_files=extra)
    return module, json.loads(extra["class_names.json"])


@torch.inference_mode()
def check(arguments):
    """Runs the exported file and compares its logits with those in the files; those `shown` may differ."""
    module, _ = load_exported(arguments.exported)
    images = load_file(arguments.pixels)["pixels"]
    expected = torch.cat([module(batch) for batch in images.split(100)])
    largest = expected.abs().max().item()
    failed = False
    for given in arguments.shown + arguments.logits:
        label, path = given.rsplit("=", 1)
        logits = load_file(path)["logits"]
        difference = (logits - expected).abs().max().item()
        same = (logits.argmax(1) == expected.argmax(1)).float().mean().item()
        print(f"{label}: logits differ from Python's by at most {difference:.1e} (largest {largest:.1f}), {same:.2%} same predictions")
        failed |= given in arguments.logits and difference > TOLERANCE * largest
    if failed:
        sys.exit(f"demo: the answers differ by more than {TOLERANCE:.0e} of the largest logit")


def read_runs(folders):
    """Each run's name, summary and epochs."""
    return [
        (
            folder.name,
            json.loads((folder / "summary.json").read_text()),
            [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        )
        for folder in folders
    ]


def contact_sheet(images, labels, logits, names, path, rows=4, columns=9):
    """The first images with the answers; a wrong one in red with the truth beneath."""
    import matplotlib.pyplot as plt

    shares = logits.softmax(1)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.25, rows * 1.62), dpi=110)
    for i, axis in enumerate(axes.flat):
        answer, truth = int(shares[i].argmax()), int(labels[i])
        right = answer == truth
        axis.imshow(images[i], cmap="gray_r", interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set(color=GOOD if right else BAD, linewidth=1.5)
        axis.set_title(f"{names[answer]} {shares[i, answer]:.0%}", fontsize=7.5, color=GOOD if right else BAD, pad=3)
        if not right:
            axis.set_xlabel(f"is: {names[truth]}", fontsize=7.5, color=BAD, labelpad=2)
    figure.tight_layout(pad=0.4, h_pad=0.7)
    figure.savefig(path)
    plt.close(figure)


def curves(runs, path):
    """Training loss and test accuracy by epoch."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), dpi=110)
    for color, (name, _, epochs) in zip(ACCENTS, runs):
        numbers = [e["epoch"] for e in epochs]
        left.plot(numbers, [e["train_loss"] for e in epochs], marker="o", markersize=4, color=color, label=name)
        tested = [e for e in epochs if "test_accuracy" in e]
        share = [100 * e["test_accuracy"] for e in tested]
        right.plot([e["epoch"] for e in tested], share, marker="o", markersize=4, color=color, label=name)
    left.set(title="Training loss", xlabel="epoch", ylim=(0, None))
    right.set(title="Test accuracy (%)", xlabel="epoch")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def pictures(arguments):
    import matplotlib

    matplotlib.use("Agg")
    logits = load_file(arguments.logits)["logits"]
    images, labels = test_images(arguments.data, len(logits))
    _, names = load_exported(arguments.exported)
    contact_sheet(images, labels, logits, names, arguments.predictions)
    curves(read_runs(arguments.runs), arguments.curves)
    print(f"{arguments.predictions}: {(logits.argmax(1).numpy() == labels).mean():.1%} of {len(labels)} test images are right")
    print(f"{arguments.curves}")


def table(arguments):
    header = ("method", "trained parameters", "test accuracy", "seconds", "peak memory")
    rows = [
        (
            name,
            f"{summary['trained_parameters']:,}",
            f"{summary['test_accuracy']:.1%}",
            f"{summary['seconds']:.0f}",
            f"{summary['peak_rss'] / 2**20:,.0f} MiB",
        )
        for name, summary, _ in read_runs(arguments.runs)
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    for row in (header, tuple("-" * w for w in widths), *rows):
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(function, **flags):
        sub = commands.add_parser(function.__name__, help=(function.__doc__ or "").partition("\n")[0])
        for name, options in flags.items():
            sub.add_argument(f"--{name}", **{"required": True, **options})
        sub.set_defaults(run=function)

    labeled = {"action": "append", "metavar": "LABEL=FILE"}
    path, paths = {"type": pathlib.Path}, {"type": pathlib.Path, "nargs": "+"}
    command(pixels, data={}, count={"type": int}, out=path)
    command(check, exported=path, pixels=path, logits=labeled, shown={**labeled, "required": False, "default": []})
    command(pictures, data={}, logits=path, exported=path, runs=paths, predictions=path, curves=path)
    command(table, runs=paths)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
