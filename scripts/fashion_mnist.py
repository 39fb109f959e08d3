"""Reads Fashion-MNIST's IDX files, for the scripts that write its images in other layouts."""

import gzip
import pathlib

import numpy as np

FOLDER = pathlib.Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def read_idx(path, dimensions):
    """An IDX file of bytes, gzipped or not."""
    found = next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{path}[.gz] is not there; Debian's package dataset-fashion-mnist has it, or give its folder")
    data = (gzip.open if found.suffix == ".gz" else open)(found, "rb").read()
    header = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{found}: not an IDX file of bytes in {dimensions} dimensions")
    shape = tuple(np.frombuffer(data, ">u4", dimensions, 4))
    values = np.frombuffer(data, np.uint8, offset=header)
    if values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{found}: {values.size} values for the shape {shape}")
    return values.reshape(shape)


def load(split, folder=FOLDER):
    """Images `[N, 28, 28]` and labels `[N]` of `train` or `t10k`."""
    folder = pathlib.Path(folder)
    images = read_idx(folder / f"{split}-images-idx3-ubyte", 3)
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise ValueError(f"{folder}: {len(images)} images, but {len(labels)} labels for {split}")
    return images, labels
