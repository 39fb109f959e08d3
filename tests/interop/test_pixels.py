"""Decoded, resized and normalised pixels against Pillow and torchvision: every value."""

import itertools
import os
import struct
import subprocess
import zlib

import numpy
import PIL
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms

from conftest import built

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
IMAGENET = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def run_jobs(jobs):
    """The answers of bin/respeft_pixels, one a job."""
    lines = "".join("\t".join(map(str, job)) + "\n" for job in jobs)
    tool = built("RESPEFT_PIXELS", "bin/respeft_pixels")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([tool], input=lines, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == len(jobs)
    return answers


def ours(jobs):
    """The images that the jobs write, `[H, W, 3]`."""
    for job, answer in zip(jobs, run_jobs(jobs)):
        assert answer == "ok", f"{job}: {answer}"
    return [numpy.array(Image.open(job[2])) for job in jobs]


def pillows(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def photograph(width, height, channels=3, seed=0):
    """Smooth colour, hard edges and noise, with values up to both ends of the range: uint8 `[H, W, channels]`."""
    generator = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:height, 0:width] / max(width, height)
    waves = [numpy.sin(generator.uniform(2, 25, 2) @ numpy.stack([x, y]).reshape(2, -1)).reshape(height, width) for _ in range(channels)]
    image = 128 + 110 * numpy.stack(waves, -1)
    image += 40 * (((x * 9).astype(int) + (y * 7).astype(int)) % 2)[..., None]
    return (image + generator.normal(0, 12, image.shape)).clip(0, 255).astype(numpy.uint8)


def check_decoding(paths, tmp_path, tolerance):
    results = ours([("decode", path, tmp_path / f"{i}.ppm") for i, path in enumerate(paths)])
    worst, equal, values = 0, 0, 0
    for path, result in zip(paths, results):
        expected = numpy.array(pillows(path))
        assert result.shape == expected.shape, path.name
        assert expected.std() > 5, f"{path.name} is trivial"
        difference = numpy.abs(result.astype(int) - expected)
        assert difference.max() <= tolerance, f"{path.name}: differs by up to {difference.max()}"
        worst, equal, values = max(worst, difference.max()), equal + (difference == 0).sum(), values + difference.size
    print(f"{len(paths)} images: {equal / values:.4%} of {values} values equal, largest difference {worst}")


# ---------------------------------------------------------------------------------------------------------- JPEG


def jpeg_files(folder):
    sizes = [(160, 120), (97, 61), (16, 16), (15, 33)]  # whole and broken coding blocks
    for (width, height), subsampling, quality, progressive in itertools.product(sizes, (0, 1, 2), (35, 90), (False, True)):
        path = folder / f"rgb-{width}x{height}-sub{subsampling}-q{quality}{'-progressive' if progressive else ''}.jpg"
        Image.fromarray(photograph(width, height)).save(path, quality=quality, subsampling=subsampling, progressive=progressive)
        yield path
    image = Image.fromarray(photograph(97, 61))
    for mode in ("L", "CMYK"):
        image.convert(mode).save(folder / f"{mode}.jpg", quality=85)
        yield folder / f"{mode}.jpg"
    Image.fromarray(photograph(97, 61, 4), "CMYK").save(folder / "ink.jpg", quality=85)  # black that is not the colours' own
    yield folder / "ink.jpg"
    image.save(folder / "kept-rgb.jpg", quality=85, keep_rgb=True)
    yield folder / "kept-rgb.jpg"
    image.save(folder / "restart.jpg", quality=85, restart_marker_rows=1)
    yield folder / "restart.jpg"
    image.save(folder / "named.png", "JPEG")  # told by its bytes, not by its name
    yield folder / "named.png"


def test_jpeg_is_decoded_as_pillow_does(tmp_path):
    check_decoding(list(jpeg_files(tmp_path)), tmp_path, tolerance=0)


def ycck_jpeg(folder):
    """A CMYK file whose Adobe marker says YCCK, by changing the marker's transform byte: colours change, alike for all."""
    data = bytearray((folder / "ink.jpg").read_bytes())
    marker = data.index(b"Adobe")
    data[marker + 11] = 2
    (folder / "ycck.jpg").write_bytes(data)
    return folder / "ycck.jpg"


def test_ycck_is_decoded_as_pillow_does(tmp_path):
    list(jpeg_files(tmp_path))
    check_decoding([ycck_jpeg(tmp_path)], tmp_path, tolerance=0)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation(tmp_path, suffix):
    paths = []
    for orientation, byte_order in itertools.product(range(0, 10), "<>"):
        exif = Image.Exif()
        exif.endian = byte_order
        exif[0x010F], exif[0x0112] = "a maker's name, stored beside", orientation
        paths.append(tmp_path / f"{orientation}{'le' if byte_order == '<' else 'be'}.{suffix}")
        Image.fromarray(photograph(48, 31)).save(paths[-1], exif=exif, quality=90)
    check_decoding(paths, tmp_path, tolerance=0)
    assert numpy.array(pillows(paths[12])).shape == (48, 31, 3)  # orientation 6 lies on its side


# ----------------------------------------------------------------------------------------------------------- PNG


def write_png(path, samples, bits, colour, *, interlaced=False, palette=None, transparency=None):
    """A PNG of `samples [H, W, channels]` of any bit depth and colour type: Pillow writes only some of them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def packed(rows):
        if bits == 16:
            return [b"\0" + row.astype(">u2").tobytes() for row in rows]
        if bits == 8:
            return [b"\0" + row.astype(numpy.uint8).tobytes() for row in rows]
        digits = [(row.reshape(-1, 1) >> numpy.arange(bits - 1, -1, -1)) & 1 for row in rows]
        return [b"\0" + numpy.packbits(row.reshape(-1).astype(numpy.uint8)).tobytes() for row in digits]

    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column, first row, column step, row step
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in passes]
    body = b"".join(b"".join(packed(part)) for part in parts if part.size)
    height, width = samples.shape[:2]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))))
        if palette is not None:
            file.write(chunk(b"PLTE", palette.astype(numpy.uint8).tobytes()))
        if transparency is not None:
            file.write(chunk(b"tRNS", transparency))
        file.write(chunk(b"IDAT", zlib.compress(body)))
        file.write(chunk(b"IEND", b""))
    return path


GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
TRANSPARENCY = {GREY: struct.pack(">H", 1), RGB: struct.pack(">HHH", 10, 20, 30), PALETTE: bytes([0, 128]), GREY_ALPHA: None, RGBA: None}


def png_files(folder):
    generator = numpy.random.default_rng(1)
    for colour, depths in DEPTHS.items():
        for bits, interlaced, transparent in itertools.product(depths, (False, True), (False, True)):
            if transparent and TRANSPARENCY[colour] is None or (colour, bits) == (GREY, 16):
                continue
            samples = generator.integers(0, 1 << bits, (19, 21, CHANNELS[colour]))
            path = folder / f"colour{colour}-{bits}bit-{'interlaced' if interlaced else 'plain'}-{transparent}.png"
            palette = generator.integers(0, 256, (1 << bits, 3)) if colour == PALETTE else None
            yield write_png(path, samples, bits, colour, interlaced=interlaced, palette=palette,
                            transparency=TRANSPARENCY[colour] if transparent else None)  # fmt: skip
    for width, height in ((1, 1), (2, 1), (1, 5), (3, 3)):  # some of the seven passes are empty
        samples = generator.integers(0, 256, (height, width, 3))
        samples[0, 0] = 0, 128, 255
        yield write_png(folder / f"tiny-{width}x{height}.png", samples, 8, RGB, interlaced=True)
    photo = Image.fromarray(photograph(97, 61))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):  # Pillow's writer uses row filters, which the one above does not
        photo.convert(mode).save(folder / f"pillow-{mode}.png")
        yield folder / f"pillow-{mode}.png"


def test_png_is_decoded_as_pillow_does(tmp_path):
    paths = list(png_files(tmp_path))
    assert len(paths) > 45
    check_decoding(paths, tmp_path, tolerance=0)


def test_16_bit_grey_keeps_its_upper_byte(tmp_path):
    """Where we differ from Pillow's convert("RGB"), which clips 16-bit grey at 255: nearly all of it would be white."""
    samples = numpy.random.default_rng(2).integers(0, 1 << 16, (19, 21, 1))
    path = write_png(tmp_path / "grey16.png", samples, 16, GREY)
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


def test_random_damage_never_crashes(tmp_path):
    """Bytes changed at random: an image or an error, never the end of the program."""
    generator = numpy.random.default_rng(3)
    jobs = []
    for path in list(jpeg_files(tmp_path))[::7] + list(png_files(tmp_path))[::5]:
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


# -------------------------------------------------------------------------------------------- resize and normalise


def test_resize_equals_pillow_in_every_value(tmp_path):
    assert int(PIL.__version__.split(".")[0]) >= 13, "earlier ones always filter rows before columns"
    sizes = [(500, 375), (375, 500), (28, 28), (97, 61), (1, 1), (3, 200), (100, 301), (641, 2), (224, 224)]
    targets = [(224, 224), (56, 56), (14, 29), (1, 1), (97, 33), (500, 100), (50, 201), (50, 200)]
    jobs, expected = [], []
    for i, (width, height) in enumerate(sizes):
        photo, noise = photograph(width, height, seed=i), numpy.random.default_rng(i).choice([0, 255], (height, width, 3))
        for kind, pixels in (("photo", photo), ("extremes", noise.astype(numpy.uint8))):  # extremes overshoot both ends
            path = tmp_path / f"{kind}-{width}x{height}.png"
            Image.fromarray(pixels).save(path)
            for target, (name, resampling) in itertools.product(targets, FILTERS.items()):
                jobs.append(("resize", path, tmp_path / f"{len(jobs)}.ppm", *target, name))
                expected.append(numpy.array(Image.open(path).resize(target, resampling)))
    for job, result, wanted in zip(jobs, ours(jobs), expected):
        assert result.shape == wanted.shape and numpy.array_equal(result, wanted), job


@pytest.mark.parametrize("filter", FILTERS)
def test_input_equals_torchvision_in_every_bit(tmp_path, filter):
    path = tmp_path / "photo.jpg"
    Image.fromarray(photograph(500, 375)).save(path, quality=90)
    assert run_jobs([("input", path, tmp_path / "out.bin", 224, filter)]) == ["ok"]
    steps = [transforms.Resize((224, 224), transforms.InterpolationMode(filter)), transforms.ToTensor(), IMAGENET]
    expected = transforms.Compose(steps)(pillows(path))
    result = torch.from_numpy(numpy.fromfile(tmp_path / "out.bin", numpy.float32).reshape(3, 224, 224))
    assert torch.equal(result, expected)
