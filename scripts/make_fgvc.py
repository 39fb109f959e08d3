#!/usr/bin/env python3
"""Writes stand-ins for the five FGVC datasets without the network: images of Fashion-MNIST (10 classes) in the layouts that the
datasets and VPT's lists have, OUT/DATASET/{train,val,test}.json and the images' folders.

The layout is the dataset's, the task is not; a README.txt in each folder says so. The same arguments write the same files.
"""

import argparse
import json
import pathlib
import sys

import fashion_mnist
import numpy as np
from PIL import Image


def slug(label):
    return "".join(c if c.isalnum() else "_" for c in fashion_mnist.CLASSES[label])


# How each names an image of a class, and that class's id. `{name}` is unique among a dataset's images.
LAYOUTS = {
    "CUB_200_2011": ("images", lambda label, name: f"{label + 1:03}.{slug(label)}/{name}.jpg", lambda label: label + 1),
    "nabirds": ("images", lambda label, name: f"{295 + 7 * label:04}/{name}.jpg", lambda label: 295 + 7 * label),
    "OxfordFlowers": ("", lambda label, name: f"jpg/image_{name}.jpg", lambda label: label + 1),
    "StanfordDogs": ("Images", lambda label, name: f"n{2085620 + label:08}-{slug(label)}/{name}.jpg", lambda label: label),
    "StanfordCars": ("", lambda label, name: f"cars_{'test' if name.startswith('test') else 'train'}/{name}.jpg", lambda label: label + 1),
}
README = "A stand-in: images of Fashion-MNIST in the layout of {}, to try programs with. Figures on it mean nothing for {}.\n"


def write(folder, layout, splits):
    image_folder, path_of, id_of = layout
    for split, items in splits.items():
        listed = {}
        for number, (image, label) in enumerate(items):
            name = path_of(int(label), f"{split}{number:05}")
            path = folder / image_folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=95)
            listed[name] = id_of(int(label))
        (folder / f"{split}.json").write_text(json.dumps(listed))
    (folder / "README.txt").write_text(README.format(folder.name, folder.name))


def number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="the root: `respeft train --data fgvc:OUT/DATASET`")
    parser.add_argument("--datasets", nargs="+", default=list(LAYOUTS), metavar="NAME", help=f"default: {' '.join(LAYOUTS)}")
    parser.add_argument("--train", type=number, default=200, help="images in train.json (default: 200)")
    parser.add_argument("--val", type=number, default=50, help="images in val.json (default: 50)")
    parser.add_argument("--test", type=number, default=200, help="images in test.json (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="which images are drawn (default: 0)")
    parser.add_argument("--fashion-mnist", type=pathlib.Path, default=fashion_mnist.FOLDER, metavar="DIR", help="its IDX files")
    arguments = parser.parse_args()
    for name in arguments.datasets:
        if name not in LAYOUTS:
            parser.error(f"unknown dataset '{name}'; known: {', '.join(LAYOUTS)}")
    sizes = {"train": arguments.train, "val": arguments.val, "test": arguments.test}
    if sizes["train"] + sizes["val"] > 60000 or sizes["test"] > 10000:
        parser.error("Fashion-MNIST has 60,000 images to train on and 10,000 to test")
    sources = {source: fashion_mnist.load(source, arguments.fashion_mnist) for source in ("train", "t10k")}
    for name in arguments.datasets:
        folder = arguments.out / name
        if folder.exists():
            sys.exit(f"{parser.prog}: {folder} is there already")
        generator = np.random.default_rng([arguments.seed, *name.encode()])
        chosen = {source: generator.permutation(len(labels)) for source, (_, labels) in sources.items()}
        ends = {"train": ("train", 0), "val": ("train", sizes["train"]), "test": ("t10k", 0)}
        splits = {}
        for split, (source, begin) in ends.items():
            images, labels = sources[source]
            splits[split] = [(images[i], labels[i]) for i in chosen[source][begin : begin + sizes[split]]]
        write(folder, LAYOUTS[name], splits)
        print(f"{folder}: {json.dumps(sizes)}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {error}")
