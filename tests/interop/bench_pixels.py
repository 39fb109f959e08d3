"""Images a second from a 500 × 375 JPEG to a normalized 224 × 224 tensor, beside Pillow and torchvision, which make the same values.

Both take turns in one run, on one thread; the figures are of processor time. Then the same with a loader's workers, in time that
passes. Run as: .venv/bin/python tests/interop/bench_pixels.py
"""

import os
import pathlib
import subprocess
import tempfile
import time

import numpy
import torch
from conftest import built
from golden import photograph
from PIL import Image
from test_pixels import IMAGENET
from torchvision import transforms

ROUNDS, REPEATS, LOADED = 15, 10, 400
BICUBIC, BILINEAR = transforms.InterpolationMode.BICUBIC, transforms.InterpolationMode.BILINEAR
CHAINS = {  # SIZE FILTER RESIZE_SIZE RESIZE_MODE of ours, and their steps up to the square
    "to 224 × 224, bicubic": ((224, "bicubic", 0, "squash"), [transforms.Resize((224, 224), BICUBIC)]),
    "shorter side to 256, bilinear, middle 224 × 224":
        ((224, "bilinear", 256, "shortest"), [transforms.Resize(256, BILINEAR), transforms.CenterCrop(224)]),
}  # fmt: skip


class Tool:
    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        tool = built("RESPEFT_PIXELS", "bin/respeft_pixels")
        self.process = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __call__(self, *job):
        self.process.stdin.write("\t".join(map(str, job)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert not answer.startswith("error"), answer
        return [float(word) for word in answer.split()]


def seconds_of(steps, path):
    start = time.thread_time()
    steps(Image.open(path).convert("RGB"))
    return time.thread_time() - start


def compare(tool, path, name):
    job, steps = CHAINS[name]
    steps = transforms.Compose([*steps, transforms.ToTensor(), IMAGENET])
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours += tool("time", path, REPEATS, *job)
        theirs += [seconds_of(steps, path) for _ in range(REPEATS)]
    print(f"{name}: images a second, respeft {1 / numpy.median(ours):.0f}, Pillow and torchvision {1 / numpy.median(theirs):.0f}; "
          f"{numpy.median(theirs) / numpy.median(ours):.2f} times as fast by medians, {min(theirs) / min(ours):.2f} by minima")  # fmt: skip


def scale(tool, path):
    job, _ = CHAINS["to 224 × 224, bicubic"]
    best = {workers: 0.0 for workers in (0, 1, 2)}
    for _ in range(5):
        for workers in best:
            best[workers] = max(best[workers], LOADED / tool("load", path, LOADED, workers, *job)[0])
    print(f"with a loader, the best of 5: {', '.join(f'{workers} workers {rate:.0f}' for workers, rate in best.items())}; "
          f"two do {best[2] / best[1]:.2f} times what one does")  # fmt: skip


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "photo.jpg"
        Image.fromarray(photograph(500, 375)).save(path, quality=90)
        tool = Tool()
        for name in CHAINS:
            compare(tool, path, name)
        scale(tool, path)
        tool.process.stdin.close()
        tool.process.wait()


if __name__ == "__main__":
    main()
