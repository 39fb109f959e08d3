"""Decoding, resizing to 224 × 224 and normalising a 500 × 375 JPEG on one thread, beside Pillow and torchvision.

Both take turns in one run; the figures are medians of processor time. Run as: .venv/bin/python tests/interop/bench_pixels.py
"""

import os
import pathlib
import subprocess
import tempfile
import time

import numpy
import torch
from conftest import built
from PIL import Image
from test_pixels import IMAGENET, photograph, pillows
from torchvision import transforms

ROUNDS, REPEATS = 15, 10


def main():
    torch.set_num_threads(1)
    steps = transforms.Compose(
        [transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC), transforms.ToTensor(), IMAGENET]
    )
    tool, environment = built("RESPEFT_PIXELS", "bin/respeft_pixels"), {**os.environ, "OMP_NUM_THREADS": "1"}
    our_seconds, their_seconds = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process,
    ):
        path = pathlib.Path(folder) / "photo.jpg"
        Image.fromarray(photograph(500, 375)).save(path, quality=90)
        for _ in range(ROUNDS):
            process.stdin.write(f"time\t{path}\t{REPEATS}\t224\tbicubic\n")
            process.stdin.flush()
            our_seconds += map(float, process.stdout.readline().split())
            for _ in range(REPEATS):
                start = time.thread_time()
                steps(pillows(path))
                their_seconds.append(time.thread_time() - start)
        process.stdin.close()
    ours, theirs = numpy.median(our_seconds), numpy.median(their_seconds)
    print(f"ours {ours * 1e3:.2f} ms, Pillow and torchvision {theirs * 1e3:.2f} ms an image: {theirs / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
