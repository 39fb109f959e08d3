"""Small training runs whose results are known: one a method, on weights and images that a formula makes.

    golden_runs.py record PROGRAM FOLDER       trains all runs with PROGRAM and writes FOLDER/NAME/ (files) and FOLDER/figures.json
    golden_runs.py compare PROGRAM PROGRAM     trains all runs with both; every file must be the same, bit for bit

The figures were recorded with the program of version 0.1.0 before its source was rearranged. On another processor the last
bits differ, so the test compares with a tolerance; `compare` is for two programs on one machine.
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy
from PIL import Image
from safetensors.numpy import load_file, save_file

MODEL = "vit_tiny_patch16_224"
SIZE, WIDTH, DEPTH, PATCH = 32, 192, 12, 16
CLASSES = ["ash", "birch", "cedar", "elm"]

# What each run is trained with, beside COMMON.
COMMON = "--epochs 2 --warmup-epochs 0 --batch-size 8 --lr 3e-3 --threads 1 --workers 1 --seed 7 --schedule-lag --mean half --std half"
SMALL = "--blocks 0-2 --targets q,v,o --rank 1 --alpha 4"
RUNS = {
    "rlrr": "--method rlrr --blocks 0-1",
    "rlrr-parts": "--method rlrr --init identity --targets q,v,fc1 --blocks 0-1 --scales in",
    "lora": f"--method lora {SMALL} --dropout 0.1",
    "lora-allocated": "--method lora --targets q,fc1 --blocks 0-1 --rank 3 --target-rank 2 --prune-every 1",
    "reslora-bs": f"--method reslora-bs {SMALL}",
    "reslora-is": f"--method reslora-is {SMALL}",
    "reslora-ms": f"--method reslora-ms {SMALL} --pre-num 1",
    "loha": "--method loha --blocks 0 --targets qkv,fc1 --rank 2",
    "lokr": "--method lokr --blocks 0 --targets qkv,fc1 --rank 2",
    "ssf": "--method ssf --blocks 0-1",
    "bitfit": "--method bitfit",
    "linear": "--method linear --lr 1e-2",
    "full": "--method full --lr 1e-4",
    "augmented": "--method ssf --blocks 0-1 --flip --mixup 0.8 --cutmix 1.0 --ema-decay 0.9 --auto-augment rand-m9-mstd0.5-inc1 "
    "--random-erasing 0.5 --label-smoothing 0.1 --drop-path 0.1 --branch-dropout 0.1 --clip-grad 1",
    "sgd-val": "--method lora --blocks 0-1 --rank 2 --optimizer sgd --protocol val --accumulate 2 --decay matrices",
    "mean-pooling": "--method rlrr --blocks 0-1 --pool avg --precision bfloat16",
}
# Run directories of these are kept, to show that files of version 0.1.0 stay readable.
KEPT = ["rlrr", "rlrr-parts", "lora", "lora-allocated", "reslora-bs", "reslora-is", "reslora-ms", "loha", "lokr", "ssf", "linear"]


def noise(shape, stream):
    """Numbers in [-0.5, 0.5), of 24 bits, from SplitMix64: the same on every machine."""
    count = int(numpy.prod(shape))
    with numpy.errstate(over="ignore"):
        z = (numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(stream << 32)) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z ^= z >> numpy.uint64(31)
    return ((z >> numpy.uint64(40)).astype(numpy.float32) / numpy.float32(2**24) - numpy.float32(0.5)).reshape(shape)


def make_weights(path):
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, (SIZE // PATCH) ** 2 + 1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for block in range(DEPTH):
        for layer, rows, columns in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):
            shapes[f"blocks.{block}.{layer}.weight"] = (rows, columns)
            shapes[f"blocks.{block}.{layer}.bias"] = (rows,)
        for layer in ("norm1", "norm2"):
            shapes[f"blocks.{block}.{layer}.weight"] = shapes[f"blocks.{block}.{layer}.bias"] = (WIDTH,)
    tensors = {}
    for stream, (name, shape) in enumerate(sorted(shapes.items())):
        tensors[name] = noise(shape, stream) * numpy.float32(0.125)
        if "norm" in name and name.endswith("weight"):
            tensors[name] += numpy.float32(1)
    save_file(tensors, path)


def make_images(root):
    """12 images a class for training, 4 for each other split, told by their stripes."""
    stream = 1000
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                stream += 1
                y, x = numpy.mgrid[0:SIZE, 0:SIZE]
                stripes = ((x * (label & 1) + y * (label >> 1 & 1) + 2 * label) // 4 % 2)[..., None]
                pixels = 128 + 64 * (stripes - 0.5) + 96 * noise((SIZE, SIZE, 3), stream)
                Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)).save(folder / f"{number:02}.png")


def make_inputs(folder):
    folder.mkdir(parents=True, exist_ok=True)
    make_weights(folder / "base.safetensors")
    make_images(folder / "images")
    save_file({"pixels": noise((6, 3, SIZE, SIZE), 5000) * numpy.float32(4)}, folder / "pixels.safetensors")


def respeft(program, *arguments, cwd):
    done = subprocess.run([program, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(program, folder, name, *more):
    """Trains run NAME in FOLDER/NAME on the inputs in FOLDER."""
    own = RUNS[name].split()
    flags = COMMON.split()
    for flag in (word for word in own if word.startswith("--") and word in flags):  # the run's own value counts
        at = flags.index(flag)
        del flags[at : at + 2]
    respeft(program, "train", "--model", MODEL, "--weights", "base.safetensors", "--data", "imagefolder:images", "--image-size", SIZE,
            "--out", name, *flags, *own, *more, cwd=folder)  # fmt: skip


def merge_arguments(name):
    return ["--method", "regression", "--accept-loss"] if name in ("reslora-is", "reslora-ms") else []


def predict(program, folder, *flags):
    respeft(program, "predict", "--pixels", "pixels.safetensors", "--logits", "logits.safetensors", *flags, cwd=folder)
    return load_file(folder / "logits.safetensors")["logits"]


def digest(tensors):
    """Sums that tell one set of tensors from another: of all values, and of all magnitudes."""
    values = [tensor.astype(numpy.float64) for tensor in tensors.values()]
    return [float(sum(v.sum() for v in values)), float(sum(numpy.abs(v).sum() for v in values))]


def figures(program, folder, name):
    """What run NAME came to: its epochs, its adapter, its logits, and those of the merged model."""
    epochs = []
    for line in (folder / name / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        epochs.append({key: value for key, value in record.items() if "seconds" not in key})
    logits = predict(program, folder, "--run", name)
    respeft(program, "merge", "--run", name, "--out", "merged.safetensors", "--threads", 1, *merge_arguments(name), cwd=folder)
    merged = predict(program, folder, "--weights", "merged.safetensors")
    adapter = {key: value for key, value in load_file(folder / name / "adapter.safetensors").items()}
    return {"epochs": epochs, "adapter": digest(adapter), "logits": logits.tolist(), "merged": merged.tolist()}


def bits(folder, name):
    """Hashes of all that run NAME left that must not change; times are left out."""
    tensors = {}
    for file in ("adapter.safetensors", "checkpoint/state.safetensors"):
        for key, value in load_file(folder / name / file).items():
            tensors[f"{file}:{key}"] = value.tobytes()
    for key, value in load_file(folder / "merged.safetensors").items():
        tensors[f"merged:{key}"] = value.tobytes()
    return {key: hashlib.sha256(value).hexdigest() for key, value in tensors.items()}


def everything(program, folder):
    make_inputs(folder)
    for name in RUNS:
        train(program, folder, name)
        yield name, figures(program, folder, name), bits(folder, name)


def record(program, target):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        all_figures = {}
        for name, own, _ in everything(program, folder):
            all_figures[name] = own
            if name not in KEPT:
                continue
            place = target / name
            shutil.rmtree(place, ignore_errors=True)
            (place / "checkpoint").mkdir(parents=True)
            for file in ("adapter.safetensors", "checkpoint/state.safetensors", "metrics.jsonl", "summary.json", "config.toml"):
                content = (folder / name / file).read_bytes()
                if not file.endswith(".safetensors"):
                    content = content.replace(str(folder).encode(), b"@FOLDER@")
                (place / file).write_bytes(content)
        (target / "figures.json").write_text(json.dumps(all_figures, indent=1) + "\n")


def compare(first, second):
    different = 0
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        pairs = zip(everything(first, pathlib.Path(one)), everything(second, pathlib.Path(two)))
        for (name, own, own_bits), (_, other, other_bits) in pairs:
            wrong = sorted(key for key in own_bits.keys() | other_bits.keys() if own_bits.get(key) != other_bits.get(key))
            wrong += [key for key in own if own[key] != other[key]]
            print(f"{name}: {len(own_bits)} tensors, " + (f"DIFFERENT: {wrong[:8]}" if wrong else "the same"), flush=True)
            different += bool(wrong)
    return different


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(str(pathlib.Path(sys.argv[2]).resolve()), pathlib.Path(sys.argv[3]))
    elif sys.argv[1:2] == ["compare"]:
        sys.exit(compare(*(str(pathlib.Path(path).resolve()) for path in sys.argv[2:4])))
    else:
        sys.exit(__doc__)
