"""The scripts that write datasets in VTAB-1k's and FGVC's layouts, and the program on what they write."""

import collections
import hashlib
import json
import subprocess
import sys

import dsprites
import fashion_mnist
import make_vtab
import numpy
import pytest
from conftest import ROOT
from PIL import Image

SIZES = ["--train", "40", "--val", "12", "--test", "20"]
FOLDERS = {"CUB_200_2011": "images", "nabirds": "images", "OxfordFlowers": "", "StanfordDogs": "Images", "StanfordCars": ""}


def make(script, out, *arguments):
    command = [sys.executable, ROOT / "scripts" / script, out, *SIZES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return out


def contents(folder):
    """SHA-256 of every file."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def needs_fashion_mnist():
    if not fashion_mnist.FOLDER.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    return make("make_vtab.py", tmp_path_factory.mktemp("sprites"), "--datasets", "dsprites_loc", "dsprites_ori")


@pytest.fixture(scope="module")
def vtab(tmp_path_factory):
    needs_fashion_mnist()
    return make("make_vtab.py", tmp_path_factory.mktemp("vtab"), "--datasets", "all", "--format", "jpg")


@pytest.fixture(scope="module")
def fgvc(tmp_path_factory):
    needs_fashion_mnist()
    return make("make_fgvc.py", tmp_path_factory.mktemp("fgvc"))


def doctor(program, spec):
    return json.loads(program("doctor", "--data", spec, "--any-size", "--allow-warnings", "--json"))


def class_images(document):
    return {split["split"]: split["class_images"] for split in document["data"]["splits"]}


def read_list(path):
    return [line.rsplit(" ", 1) for line in path.read_text().splitlines()]


def test_the_same_arguments_write_the_same_files(sprites, fgvc, tmp_path):
    again = make("make_vtab.py", tmp_path / "again", "--datasets", "dsprites_loc", "dsprites_ori")
    assert contents(again) == contents(sprites)
    other = make("make_vtab.py", tmp_path / "other", "--datasets", "dsprites_loc", "--seed", "1")
    assert contents(other / "dsprites_loc") != contents(sprites / "dsprites_loc")
    assert contents(make("make_fgvc.py", tmp_path / "fgvc")) == contents(fgvc)


def test_a_folder_that_is_there_is_left_alone(sprites):
    before = contents(sprites)
    command = [sys.executable, ROOT / "scripts" / "make_vtab.py", sprites, "--datasets", "dsprites_loc"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "is there already" in done.stderr
    assert contents(sprites) == before


# Expected: the factors of the published file, and VTAB's classes of them: floor(x / 2) and floor(orientation / 2.5)
# (task_adaptation/data/dsprites.py: the index divided by 32 / 16 and 40 / 16).
def test_sprites_have_dsprites_factors_and_vtabs_labels():
    assert dsprites.COUNT == 737280
    assert dsprites.factors(0).tolist() == [0, 0, 0, 0, 0]
    assert dsprites.factors(1).tolist() == [0, 0, 0, 0, 1]
    assert dsprites.factors(737279).tolist() == [2, 5, 39, 31, 31]
    indices = numpy.arange(0, dsprites.COUNT, 997)
    factors = dsprites.factors(indices)
    assert (dsprites.location_label(indices) == numpy.floor(factors[:, 3] / 2)).all()
    assert (dsprites.orientation_label(indices) == numpy.floor(factors[:, 2] / 2.5)).all()
    assert set(dsprites.location_label(indices)) == set(dsprites.orientation_label(indices)) == set(range(16))


def test_sprites_lie_where_their_factors_say():
    def image(*factors):
        drawn = dsprites.draw(numpy.ravel_multi_index(factors, dsprites.FACTOR_SIZES))
        assert drawn.shape == (64, 64) and set(numpy.unique(drawn)) == {0, 255}
        return drawn > 0

    def center(mask):
        rows, columns = numpy.nonzero(mask)
        return (columns.mean() + columns.min() / 2 + columns.max() / 2) / 2, (rows.mean() + rows.min() / 2 + rows.max() / 2) / 2

    for shape in range(3):
        areas = [image(shape, scale, 0, 16, 16).sum() for scale in range(6)]
        assert numpy.allclose(areas, areas[5] * numpy.linspace(0.5, 1, 6) ** 2, rtol=0.15)
        assert (image(shape, 5, 0, 9, 9) == image(shape, 5, 39, 9, 9)).all()
        for orientation in (0, 7, 20):
            whole = image(shape, 5, orientation, 16, 16).sum()
            left, right = image(shape, 5, orientation, 0, 31), image(shape, 5, orientation, 31, 0)
            assert abs(left.sum() - whole) < 0.05 * whole and abs(right.sum() - whole) < 0.05 * whole  # nothing is cut off
            (left_x, left_y), (right_x, right_y) = center(left), center(right)
            assert right_x - left_x == pytest.approx(33, abs=1) and left_y - right_y == pytest.approx(33, abs=1)
    ellipse = [numpy.ptp(numpy.nonzero(image(1, 5, orientation, 16, 16)), axis=1) for orientation in (0, 10)]
    assert ellipse[0][1] > 1.8 * ellipse[0][0] and ellipse[1][0] > 1.8 * ellipse[1][1]  # lying, then standing


def test_the_program_reads_the_sprites(program, sprites):
    for name, values in (("dsprites_loc", 16), ("dsprites_ori", 16)):
        document = doctor(program, f"vtab:{sprites / name}")
        assert not [f for f in document["findings"] if f["severity"] == "error"], document["findings"]
        assert document["data"]["name"] == f"VTAB-1k's {name}"
        assert document["data"]["images"]["kinds"] == {"PNG gray": 72}
        assert document["data"]["images"]["smallest"] == document["data"]["images"]["largest"] == [64, 64]
        for split, file in (("train", "train800"), ("val", "val200"), ("trainval", "train800val200"), ("test", "test")):
            labels = collections.Counter(int(label) for _, label in read_list(sprites / name / f"{file}.txt"))
            assert class_images(document)[split] == [labels[c] for c in range(values)]


def test_the_program_reads_all_nineteen(program, vtab):
    assert len(make_vtab.CLASSES) == 19
    for name, classes in make_vtab.CLASSES.items():
        document = doctor(program, f"vtab:{vtab / name}")
        assert not [f for f in document["findings"] if f["severity"] == "error"], document["findings"]
        assert document["data"]["images"]["kinds"] == {"JPEG gray": 72}
        counts = class_images(document)
        assert {split: sum(images) for split, images in counts.items()} == {"train": 40, "val": 12, "trainval": 52, "test": 20}
        assert all(len(images) == classes for images in counts.values())


def test_stand_ins_are_fashion_mnist(tmp_path):
    needs_fashion_mnist()
    folder = make("make_vtab.py", tmp_path, "--datasets", "svhn") / "svhn"
    known = {split: {i.tobytes(): int(l) for i, l in zip(*fashion_mnist.load(split))} for split in ("train", "t10k")}
    for file, split in (("train800", "train"), ("val200", "train"), ("test", "t10k")):
        for name, label in read_list(folder / f"{file}.txt"):
            assert known[split][numpy.array(Image.open(folder / name)).tobytes()] == int(label)
    assert "Fashion-MNIST" in (folder / "README.txt").read_text()


# Expected: labels as VPT makes them, `sorted(set(annotations.values()))` enumerated (KMnP/vpt, src/data/datasets/json_dataset.py).
@pytest.mark.parametrize("name", FOLDERS)
def test_the_program_reads_fgvc_as_vpt_does(program, fgvc, name):
    document = doctor(program, f"fgvc:{fgvc / name}")
    assert not [f for f in document["findings"] if f["severity"] == "error"], document["findings"]
    lists = {split: json.loads((fgvc / name / f"{split}.json").read_text()) for split in ("train", "val", "test")}
    ids = sorted(set().union(*(annotations.values() for annotations in lists.values())))
    assert len(ids) == 10
    for split, annotations in lists.items():
        assert all((fgvc / name / FOLDERS[name] / image).is_file() for image in annotations)
        counts = collections.Counter(ids.index(i) for i in annotations.values())
        assert class_images(document)[split] == [counts[c] for c in range(10)]
    names = document["data"]["class_names"]
    if name in ("CUB_200_2011", "nabirds", "StanfordDogs"):
        assert names == sorted({image.split("/")[0] for annotations in lists.values() for image in annotations})
    else:
        assert names == [str(i) for i in ids]


@pytest.mark.parametrize("kind", ["vtab", "fgvc"])
def test_the_program_trains_and_evaluates(program, kind, request, tmp_path):
    data = f"{kind}:{request.getfixturevalue(kind) / {'vtab': 'svhn', 'fgvc': 'StanfordCars'}[kind]}"
    run = tmp_path / "run"
    program("train", "--model", "vit_tiny_patch16_224", "--image-size", "32", "--data", data, "--epochs", "1", "--out", run)
    for split, images in (("test", 20), ("val", 12), ("trainval", 52)):
        result = json.loads(program("eval", "--run", run, "--split", split, "--json"))
        assert result["images"] == images
