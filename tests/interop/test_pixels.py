"""Decoded, resized, cropped, mirrored and normalized pixels against Pillow and torchvision: every value."""

import itertools
import struct
import zlib

import numpy
import PIL
import pytest
import torch
from golden import GRAY, all_files, jpeg_files, larger_files, ours, photograph, pillows, png_files, run_jobs, write_png
from PIL import Image, features
from torchvision import transforms
from torchvision.transforms import functional

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
IMAGENET = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# ---------------------------------------------------------------------------------------------------- the golden set

TARGETS = [(224, 224), (56, 56), (97, 33), (31, 150)]
MORE_TARGETS = [(14, 29), (1, 1), (500, 100), (50, 201), (50, 200), (300, 641)]  # of larger files, to both sides of either order


def upsamples_chroma(path):
    """Whether the file is a JPEG whose components differ in resolution: versions of libjpeg-turbo may round these differently."""
    image = Image.open(path)
    return image.format == "JPEG" and len({(horizontal, vertical) for _, horizontal, vertical, _ in image.layer}) > 1


def test_golden_set(tmp_path):
    """Every kind of file at several sizes, up and down: decoded and resized, all equal; within 1 of 255 and nearly all equal where
    JPEG's chroma is upsampled."""
    assert int(PIL.__version__.split(".")[0]) >= 13, "earlier ones always filter rows before columns"
    files = all_files(tmp_path)
    assert len(set(files)) == len(files) > 220
    decoded = ours([("decode", path, tmp_path / f"{i}.ppm") for i, path in enumerate(files)])
    upsampled = [upsamples_chroma(path) for path in files]
    assert 100 < sum(upsampled) < len(files) - 100
    worst, equal, same, values = 0, 0, 0, 0
    for path, result, tolerance in zip(files, decoded, upsampled):
        expected = numpy.array(pillows(path))
        assert result.shape == expected.shape, path.name
        assert expected.std() > 5 or expected.size < 30, f"{path.name} is trivial"
        difference = numpy.abs(result.astype(int) - expected)
        assert difference.max() <= tolerance, f"{path.name}: differs by up to {difference.max()}"
        worst, equal, same = max(worst, difference.max()), equal + (difference == 0).sum(), same + (not difference.any())
        values += difference.size
    print(
        f"decoded: {same} of {len(files)} images and {equal / values:.4%} of {values} values equal, largest difference {worst} "
        f"(Pillow {PIL.__version__} with libjpeg-turbo {features.version('libjpeg_turbo')})"
    )
    assert equal / values > 0.999
    larger = {path.name for path in larger_files(tmp_path)}
    cases = [
        (path, pixels, target, filter)
        for path, pixels in zip(files, decoded)
        for target, filter in itertools.product(TARGETS + MORE_TARGETS * (path.name in larger), FILTERS)
    ]
    jobs = [("resize", path, tmp_path / f"{i}.ppm", *target, filter) for i, (path, _, target, filter) in enumerate(cases)]
    values = 0
    for (path, pixels, target, filter), result in zip(cases, ours(jobs)):
        expected = numpy.array(Image.fromarray(pixels).resize(target, FILTERS[filter]))
        assert numpy.array_equal(result, expected), f"{path.name} to {target}, {filter}"
        values += expected.size
    print(f"resized: {len(jobs)} cases, all of {values} values equal")


def test_16_bit_gray_keeps_its_upper_byte(tmp_path):
    """Where we differ from Pillow's convert("RGB"), which clips 16-bit gray at 255: nearly all of it would be white."""
    samples = numpy.random.default_rng(2).integers(0, 1 << 16, (19, 21, 1))
    path = write_png(tmp_path / "gray16.png", samples, 16, GRAY)
    (result,) = ours([("decode", path, tmp_path / "out.ppm")])
    assert numpy.array_equal(numpy.array(Image.open(path)), samples[..., 0])
    assert numpy.array_equal(result, (samples >> 8).repeat(3, 2))


# -------------------------------------------------------------------------------------------------------- errors


def test_damaged_files_are_named_with_their_fault(tmp_path):
    list(jpeg_files(tmp_path)), list(png_files(tmp_path))
    jpeg, png = (tmp_path / "rgb-160x120-sub2-q90.jpg").read_bytes(), (tmp_path / "pillow-RGB.png").read_bytes()
    progressive = (tmp_path / "rgb-160x120-sub2-q90-progressive.jpg").read_bytes()
    huge_png = bytearray(png)
    huge_png[16:24] = struct.pack(">II", 60000, 60000)
    huge_png[29:33] = struct.pack(">I", zlib.crc32(huge_png[12:29]))
    lying_png = bytearray(png)
    lying_png[16:24] = struct.pack(">II", 13000, 13000)
    lying_png[29:33] = struct.pack(">I", zlib.crc32(lying_png[12:29]))
    huge_jpeg = bytearray(jpeg)
    frame = huge_jpeg.index(b"\xff\xc0")
    huge_jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    flipped_png = bytearray(png)
    flipped_png[len(png) // 2] ^= 0xFF
    bad_table = bytearray(jpeg)
    table = bad_table.index(b"\xff\xc4")
    bad_table[table + 5 : table + 21] = b"\xff" * 16
    cases = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello, this is no image", "neither a JPEG nor a PNG"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "corrupt"),
        "no-end.jpg": (jpeg[:-2], "corrupt"),
        "half-progressive.jpg": (progressive[: len(progressive) // 2], "corrupt"),
        "header.jpg": (jpeg[:3], "corrupt"),
        "table.jpg": (bytes(bad_table), "corrupt"),
        "huge.jpg": (bytes(huge_jpeg), "refused"),
        "half.png": (png[: len(png) // 2], "ends too early"),
        "no-end.png": (png[:-12], "ends too early"),
        "magic.png": (png[:8], "ends too early"),
        "flipped.png": (bytes(flipped_png), "corrupt"),
        "huge.png": (bytes(huge_png), "refused"),
        "lying.png": (bytes(lying_png), "cannot come from"),
    }
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    answers = run_jobs([("decode", tmp_path / name, tmp_path / "out.ppm") for name in [*cases, "missing.jpg", "pillow-RGB.png"]])
    for (name, (_, fault)), answer in zip(cases.items(), answers):
        assert answer.startswith(f"error {tmp_path / name}: ") and fault in answer, answer
    assert answers[-2].startswith("error ") and str(tmp_path / "missing.jpg") in answers[-2]
    assert answers[-1] == "ok"  # none of that did any harm


def test_every_truncation_is_an_error(tmp_path):
    Image.fromarray(photograph(40, 30)).save(tmp_path / "whole.jpg", quality=60)
    Image.fromarray(photograph(40, 30)).save(tmp_path / "whole.png")
    jobs = []
    for suffix in ("jpg", "png"):
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        for length in range(0, len(data), 1 + len(data) // 300):
            (tmp_path / f"{length}.{suffix}").write_bytes(data[:length])
            jobs.append(("decode", tmp_path / f"{length}.{suffix}", tmp_path / "out.ppm"))
    assert len(jobs) > 500
    for job, answer in zip(jobs, run_jobs(jobs)):
        assert answer.startswith(f"error {job[1]}: "), job


def damaged_scan(data, how, generator):
    """A JPEG whose image data have one fault, as found in data sets."""
    start = data.index(b"\xff\xda") + 12
    at, data = int(generator.integers(start, len(data) - 2)), bytearray(data)
    if how == "a byte":
        data[at] ^= int(generator.integers(1, 256))
    elif how == "a restart marker":
        data[at : at + 2] = bytes([0xFF, 0xD0 + int(generator.integers(8))])
    elif how == "an early end":
        data[at : at + 2] = b"\xff\xd9"
    elif how == "a hole":
        del data[at : at + int(generator.integers(1, 200))]
    elif how == "more bytes":
        data[at:at] = generator.integers(0, 256, int(generator.integers(1, 20)), numpy.uint8).tobytes()
    elif how == "zeros":
        data[at : at + 30] = bytes(len(data[at : at + 30]))
    elif how == "bytes before the end":
        data[-2:-2] = bytes(200)
    elif how == "bytes after the end":
        data += bytes(200)
    elif how == "no end":
        data = data[:-2] + (bytes(20) if at % 2 else b"")
    return bytes(data)


DAMAGES = ["a byte", "a restart marker", "an early end", "a hole", "more bytes", "zeros", "bytes before the end", "bytes after the end", "no end"]  # fmt: skip


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_jpegs_are_read_as_pillow_reads_them(tmp_path, how):
    """Read where Pillow reads, refused where it refuses, with its pixels. How gaps of progressive files are smoothed over differs
    between versions of libjpeg-turbo, so those are only read or refused alike."""
    generator = numpy.random.default_rng(DAMAGES.index(how))
    jobs, expected = [], []
    for path in list(jpeg_files(tmp_path))[::2]:
        for trial in range(2):
            damaged = tmp_path / f"{path.stem}-{trial}.jpeg"
            damaged.write_bytes(damaged_scan(path.read_bytes(), how, generator))
            jobs.append(("decode", damaged, damaged.with_suffix(".ppm")))
            try:
                expected.append(numpy.array(pillows(damaged)))
            except OSError:
                expected.append(None)
    refused = equal = 0
    for (_, path, out), pixels, answer in zip(jobs, expected, run_jobs(jobs), strict=True):
        if pixels is None:
            assert answer.startswith(f"error {path}: "), f"{path.name}: read, though Pillow refuses it"
            refused += 1
            continue
        assert answer == "ok", f"{path.name}: {answer}, though Pillow reads it"
        result = numpy.array(Image.open(out))
        assert result.shape == pixels.shape
        difference = numpy.abs(result.astype(int) - pixels).max()
        assert "progressive" in path.name or difference <= upsamples_chroma(path), f"{path.name}: differs by up to {difference}"
        equal += difference == 0
    print(f"{how}: {len(jobs)} files, {refused} refused by both, {equal} equal")
    assert equal > 0.5 * (len(jobs) - refused) or how == "no end"


def test_random_damage_never_crashes(tmp_path):
    """Bytes changed at random: an image or an error, never the end of the program."""
    generator = numpy.random.default_rng(3)
    jobs = []
    for path in list(jpeg_files(tmp_path))[::12] + list(png_files(tmp_path))[::5]:
        for trial in range(20):
            data = bytearray(path.read_bytes())
            for position in generator.integers(2, len(data), 1 + trial % 4):
                data[position] = generator.integers(0, 256)
            damaged = tmp_path / f"damaged-{len(jobs)}"
            damaged.write_bytes(data)
            jobs.append(("decode", damaged, tmp_path / "out.ppm"))
    answers = run_jobs(jobs)
    assert all(answer == "ok" or answer.startswith("error ") for answer in answers)
    assert any(answer == "ok" for answer in answers) and any(answer != "ok" for answer in answers)


# ------------------------------------------------------------------------------------ crop, mirror and normalize

INPUTS = {  # size, resize_size, resize_mode, and torchvision's steps up to the square
    "squash": (224, 0, "squash", lambda mode: [transforms.Resize((224, 224), mode)]),
    "squash and crop": (224, 256, "squash", lambda mode: [transforms.Resize((256, 256), mode), transforms.CenterCrop(224)]),
    "shortest": (56, 0, "shortest", lambda mode: [transforms.Resize(56, mode), transforms.CenterCrop(56)]),
    "shortest and crop": (224, 256, "shortest", lambda mode: [transforms.Resize(256, mode), transforms.CenterCrop(224)]),
    "an odd number": (29, 40, "shortest", lambda mode: [transforms.Resize(40, mode), transforms.CenterCrop(29)]),
}


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("how", INPUTS)
def test_input_equals_torchvision_in_every_bit(tmp_path, how, filter):
    size, resize_size, resize_mode, steps = INPUTS[how]
    steps = transforms.Compose([*steps(transforms.InterpolationMode(filter)), transforms.ToTensor(), IMAGENET])
    sizes = [(500, 375), (375, 500), (333, 500), (500, 331), (97, 61), (61, 97), (256, 256), (30, 47), (41, 40), (43, 300)]
    jobs = []
    for width, height in sizes:
        path = tmp_path / f"{width}x{height}.jpg"
        Image.fromarray(photograph(width, height)).save(path, quality=90)
        jobs.append(("input", path, path.with_suffix(".bin"), size, filter, resize_size, resize_mode))
    assert run_jobs(jobs) == ["ok"] * len(jobs)
    for _, path, out, *_ in jobs:
        result = torch.from_numpy(numpy.fromfile(out, numpy.float32).reshape(3, size, size))
        assert torch.equal(result, steps(pillows(path))), path.name


@pytest.mark.parametrize("mode", ["squash", "shortest"])
def test_random_crop_and_flip_equal_torchvision_at_some_place(tmp_path, mode):
    """Each is one of torchvision's possible results, and all of those come."""
    Image.fromarray(photograph(60, 45)).save(tmp_path / "photo.png")
    size, resize_size, draws = 20, 22, 400
    jobs = [("train", tmp_path / "photo.png", tmp_path / f"{i}.bin", size, "bilinear", resize_size, mode, i) for i in range(draws)]
    assert run_jobs(jobs) == ["ok"] * draws
    resized = functional.resize(pillows(tmp_path / "photo.png"), [resize_size] if mode == "shortest" else [resize_size] * 2)
    possible, counts = {}, {}
    for top, left, flip in itertools.product(range(resized.height - size + 1), range(resized.width - size + 1), (False, True)):
        image = functional.crop(resized, top, left, size, size)
        image = functional.hflip(image) if flip else image
        possible[IMAGENET(functional.to_tensor(image)).numpy().tobytes()] = top, left, flip
    for _, _, out, *_ in jobs:
        place = possible[out.read_bytes()]
        counts[place] = counts.get(place, 0) + 1
    assert len(counts) == len(possible) == 2 * 3 * (10 if mode == "shortest" else 3)
    for axis in range(3):  # no coordinate is drawn much too often or too rarely
        totals = numpy.bincount([int(place[axis]) for place, count in counts.items() for _ in range(count)])
        mean = draws / len(totals)
        assert numpy.abs(totals - mean).max() < 4.5 * mean**0.5, totals


def largest_distance(sample, reference):
    """Kolmogorov and Smirnov's: between the two distribution functions."""
    at = numpy.unique(numpy.concatenate([sample, reference]))
    below = [numpy.searchsorted(numpy.sort(values), at, side="right") / len(values) for values in (sample, reference)]
    return numpy.abs(below[0] - below[1]).max()


@pytest.mark.parametrize(("width", "height"), [(60, 45), (45, 60), (90, 30)])
def test_random_resized_crop_equals_torchvisions(tmp_path, width, height):
    """Each part becomes what torchvision makes of it in every bit, and parts are distributed as torchvision draws them."""
    size, draws, scale = 20, 1000, (0.3, 1.0)
    path, filters = tmp_path / "photo.png", []
    Image.fromarray(photograph(width, height)).save(path)
    jobs = [("cut", path, tmp_path / f"{i}.bin", size, scale[0], i) for i in range(draws)]
    image, ours = pillows(path), []
    for (_, _, out, *_), answer in zip(jobs, run_jobs(jobs), strict=True):
        left, top, part_width, part_height = map(int, answer.split()[:4])
        filter = answer.split()[4]
        part = top, left, part_height, part_width
        cut = functional.resized_crop(image, *part, [size, size], transforms.InterpolationMode(filter))
        result = torch.from_numpy(numpy.fromfile(out, numpy.float32).reshape(3, size, size))
        assert torch.equal(result, IMAGENET(functional.to_tensor(cut))), part
        ours.append(part)
        filters.append(filter)
    torch.manual_seed(0)
    theirs = [transforms.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(20 * draws)]
    assert abs(filters.count("bicubic") - draws / 2) < 4.5 * draws**0.5 / 2
    for values in zip(numpy.transpose(ours), numpy.transpose(theirs), strict=True):
        assert largest_distance(*values) < 1.95 * (1 / draws + 1 / len(theirs)) ** 0.5  # exceeded in one of a thousand samples
