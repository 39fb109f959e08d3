#!/usr/bin/env python3
"""Writes datasets in VTAB-1k's layout without the network: OUT/DATASET/{train800,val200,train800val200,test}.txt and images/.

dsprites_loc and dsprites_ori are VTAB's tasks on sprites drawn anew (see dsprites.py); every other dataset is a stand-in with
images of Fashion-MNIST, which has 10 classes: the layout and the sizes are the dataset's, the task is not. A README.txt in each
folder says so. The same arguments write the same files.
"""

import argparse
import json
import pathlib
import sys

import dsprites
import fashion_mnist
import numpy as np
from PIL import Image

# Classes of each dataset.
CLASSES = {
    "cifar": 100, "caltech101": 102, "dtd": 47, "oxford_flowers102": 102, "oxford_iiit_pet": 37, "svhn": 10, "sun397": 397,
    "patch_camelyon": 2, "eurosat": 10, "resisc45": 45, "diabetic_retinopathy": 5, "clevr_count": 8, "clevr_dist": 6, "dmlab": 6,
    "kitti": 4, "dsprites_loc": 16, "dsprites_ori": 16, "smallnorb_azi": 18, "smallnorb_ele": 9,
}  # fmt: skip
DEFAULT = ["svhn", "eurosat", "dsprites_loc", "dsprites_ori"]  # of each group; svhn and eurosat have 10 classes, too
LABELS = {"dsprites_loc": dsprites.location_label, "dsprites_ori": dsprites.orientation_label}
SPRITES = "Sprites drawn with dSprites' factors; a re-rendering, so figures on it are not figures on dSprites."
STAND_IN = "A stand-in: images of Fashion-MNIST in the layout of VTAB-1k's {}, to try programs with. Figures on it mean nothing for {}."


def save(image, path, quality):
    Image.fromarray(image).save(path, **({} if path.suffix == ".png" else {"quality": quality}))


def write(folder, splits, suffix, readme):
    """`splits`: by list's name, pairs of an image and its label."""
    lines = {}
    for name, items in splits.items():
        images = folder / "images" / name
        images.mkdir(parents=True, exist_ok=True)
        lines[name] = []
        for number, (image, label) in enumerate(items):
            path = images / f"{number:06}.{suffix}"
            save(image, path, quality=95)
            lines[name].append(f"{path.relative_to(folder)} {label}\n")
    lines["train800val200"] = lines["train800"] + lines["val200"]
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("".join(content))
    (folder / "README.txt").write_text(readme + "\n")


def drawn_sprites(label, sizes, generator):
    """Different combinations of factors, drawn at random."""
    chosen = generator.choice(dsprites.COUNT, sum(sizes.values()), replace=False)
    splits, begin = {}, 0
    for name, size in sizes.items():
        splits[name] = [(dsprites.draw(i), label(i)) for i in chosen[begin : begin + size]]
        begin += size
    return splits


def drawn_clothes(classes, sizes, generator, folder):
    """Different images with labels below `classes`, drawn at random; the test split's from Fashion-MNIST's test images."""
    splits = {}
    for source, names in (("train", ["train800", "val200"]), ("t10k", ["test"])):
        images, labels = fashion_mnist.load(source, folder)
        chosen = generator.permutation(np.flatnonzero(labels < classes))
        for name in names:
            if len(chosen) < sizes[name]:
                raise ValueError(f"Fashion-MNIST has {len(chosen)} images left for {name}, not {sizes[name]}")
            splits[name] = [(images[i], labels[i]) for i in chosen[: sizes[name]]]
            chosen = chosen[sizes[name] :]
    return splits


def number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="the root: `respeft train --data vtab:OUT/DATASET`")
    parser.add_argument("--datasets", nargs="+", default=DEFAULT, metavar="NAME", help=f"names, or all; default: {' '.join(DEFAULT)}")
    parser.add_argument("--train", type=number, default=800, help="images in train800.txt (default: 800)")
    parser.add_argument("--val", type=number, default=200, help="images in val200.txt (default: 200)")
    parser.add_argument("--test", type=number, default=2000, help="images in test.txt (default: 2000)")
    parser.add_argument("--format", choices=["png", "jpg"], default="png", help="of the images (default: png)")
    parser.add_argument("--seed", type=int, default=0, help="which images are drawn (default: 0)")
    parser.add_argument("--fashion-mnist", type=pathlib.Path, default=fashion_mnist.FOLDER, metavar="DIR", help="its IDX files")
    arguments = parser.parse_args()
    names = list(CLASSES) if arguments.datasets == ["all"] else arguments.datasets
    for name in names:
        if name not in CLASSES:
            parser.error(f"unknown dataset '{name}'; known: all, {', '.join(CLASSES)}")
    sizes = {"train800": arguments.train, "val200": arguments.val, "test": arguments.test}
    for name in names:
        folder = arguments.out / name
        if folder.exists():
            sys.exit(f"{parser.prog}: {folder} is there already")
        generator = np.random.default_rng([arguments.seed, *name.encode()])
        if name in LABELS:
            write(folder, drawn_sprites(LABELS[name], sizes, generator), arguments.format, SPRITES)
        else:
            splits = drawn_clothes(CLASSES[name], sizes, generator, arguments.fashion_mnist)
            write(folder, splits, arguments.format, STAND_IN.format(name, name))
        print(f"{folder}: {json.dumps(sizes)}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {error}")
