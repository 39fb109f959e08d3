"""Images of every kind that is read, made by Pillow and numpy, and what bin/respeft_pixels makes of them."""

import itertools
import os
import re
import struct
import subprocess
import zlib

import numpy
from PIL import Image, ImageOps, PngImagePlugin

from conftest import built


def run_jobs(jobs, program="pixels"):
    """The answers of bin/respeft_PROGRAM, one a job."""
    lines = "".join("\t".join(map(str, job)) + "\n" for job in jobs)
    tool = built(f"RESPEFT_{program.upper()}", f"bin/respeft_{program}")
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
    """Smooth color, hard edges and noise, with values up to both ends of the range: uint8 `[H, W, channels]`."""
    generator = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:height, 0:width] / max(width, height)
    waves = [numpy.sin(generator.uniform(2, 25, 2) @ numpy.stack([x, y]).reshape(2, -1)).reshape(height, width) for _ in range(channels)]
    image = 128 + 110 * numpy.stack(waves, -1)
    image += 40 * (((x * 9).astype(int) + (y * 7).astype(int)) % 2)[..., None]
    return (image + generator.normal(0, 12, image.shape)).clip(0, 255).astype(numpy.uint8)


# ---------------------------------------------------------------------------------------------------------- JPEG


def jpeg_files(folder):
    """Every subsampling that Pillow writes and three that it does not, baseline and progressive, in color, gray and ink."""
    sizes = [(160, 120), (97, 61), (16, 16), (15, 33)]  # whole and broken coding blocks
    for (width, height), subsampling, quality, progressive in itertools.product(sizes, (0, 1, 2), (35, 90), (False, True)):
        path = folder / f"rgb-{width}x{height}-sub{subsampling}-q{quality}{'-progressive' if progressive else ''}.jpg"
        Image.fromarray(photograph(width, height)).save(path, quality=quality, subsampling=subsampling, progressive=progressive)
        yield path
    for (width, height), mode, progressive in itertools.product(sizes, ("L", "CMYK"), (False, True)):
        path = folder / f"{mode}-{width}x{height}{'-progressive' if progressive else ''}.jpg"
        Image.fromarray(photograph(width, height)).convert(mode).save(path, quality=85, progressive=progressive)
        yield path
    image, ink = Image.fromarray(photograph(97, 61)), Image.fromarray(photograph(97, 61, 4), "CMYK")
    special = {"ink.jpg": (ink, {}),  # black that is not the colors' own
               "kept-rgb.jpg": (image, {"keep_rgb": True}), "restart.jpg": (image, {"restart_marker_rows": 1}),
               "optimized.jpg": (image, {"optimize": True}), "worst.jpg": (image, {"quality": 1}), "best.jpg": (image, {"quality": 100}),
               "named.png": (image, {"format": "JPEG"})}  # told by its bytes, not by its name  # fmt: skip
    for name, (picture, options) in special.items():
        picture.save(folder / name, **{"quality": 85} | options)
        yield folder / name
    yield ycck_jpeg(folder)
    for (width, height), quality in itertools.product(sizes, (35, 90)):
        yield from resampled_jpegs(folder, width, height, quality)


def ycck_jpeg(folder):
    """A CMYK file whose Adobe marker says YCCK, by changing the marker's transform byte: colors change, alike for all."""
    data = bytearray((folder / "ink.jpg").read_bytes())
    data[data.index(b"Adobe") + 11] = 2
    (folder / "ycck.jpg").write_bytes(data)
    return folder / "ycck.jpg"


def resampled_jpegs(folder, width, height, quality):
    """4:4:0, 4:1:1 and 1 × 4, which Pillow does not write: files whose header gives the same number of blocks another
    arrangement. The blocks lie elsewhere, alike for all."""
    for subsampling, name, horizontal, vertical in ((1, "440", 1, 2), (2, "411", 4, 1), (2, "1x4", 1, 4)):
        path = folder / f"{name}-{width}x{height}-q{quality}.jpg"
        Image.fromarray(photograph(width, height)).save(path, quality=quality, subsampling=subsampling)
        data = bytearray(path.read_bytes())
        frame = data.index(b"\xff\xc0")
        columns, rows = -(-width // 16), -(-height // (8 if subsampling == 1 else 16))
        data[frame + 5 : frame + 9] = struct.pack(">HH", rows * 8 * vertical - 3, columns * 8 * horizontal - 2)
        data[frame + 11] = horizontal << 4 | vertical
        path.write_bytes(data)
        yield path


def rotated_files(folder):
    """Every orientation that EXIF knows, and two that it does not, in both byte orders."""
    for suffix, orientation, byte_order in itertools.product(("jpg", "png"), range(0, 10), "<>"):
        exif = Image.Exif()
        exif.endian = byte_order
        exif[0x010F], exif[0x0112] = "a maker's name, stored beside", orientation
        path = folder / f"{orientation}{'le' if byte_order == '<' else 'be'}.{suffix}"
        Image.fromarray(photograph(48, 31)).save(path, exif=exif, quality=90)
        yield path


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {}/></x:xmpmeta>'


def rotated_elsewhere(folder):
    """Orientations that XMP says, against EXIF's word or alone, and EXIF as older programs put it into PNG."""
    image = Image.fromarray(photograph(48, 31))
    exif, silent = Image.Exif(), Image.Exif()
    exif[0x0112], silent[0x010F] = 3, "a maker's name"
    texts = ['tiff:Orientation="6"', "<tiff:Orientation>8</tiff:Orientation>", 'tiff:Orientation="9"', 'tiff:Orientation= 6',
             'tiff:Orientation="?" tiff:Orientation="5"', "tiff:Orientation"]  # fmt: skip
    for number, text in enumerate(texts):
        xmp = XMP.format(text).encode()
        for name, options in (("alone", {}), ("beside", {"exif": silent}), ("against", {"exif": exif})):
            image.save(folder / f"xmp-{name}-{number}.jpg", xmp=xmp, quality=90, **options)
            yield folder / f"xmp-{name}-{number}.jpg"
        for compressed in (False, True):
            info = PngImagePlugin.PngInfo()
            info.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=compressed)
            image.save(folder / f"xmp-{compressed}-{number}.png", pnginfo=info)
            yield folder / f"xmp-{compressed}-{number}.png"
    for name, data in (("whole", exif.tobytes()), ("bare", exif.tobytes()[6:])):
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n" + "\n".join(re.findall(".{1,72}", data.hex())) + "\n", zip=True)
        image.save(folder / f"profile-{name}.png", pnginfo=info)
        yield folder / f"profile-{name}.png"


# ----------------------------------------------------------------------------------------------------------- PNG


def write_png(path, samples, bits, color, *, interlaced=False, palette=None, transparency=None):
    """A PNG of `samples [H, W, channels]` of any bit depth and color type: Pillow writes only some of them."""

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
        file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, int(interlaced))))
        if palette is not None:
            file.write(chunk(b"PLTE", palette.astype(numpy.uint8).tobytes()))
        if transparency is not None:
            file.write(chunk(b"tRNS", transparency))
        file.write(chunk(b"IDAT", zlib.compress(body)))
        file.write(chunk(b"IEND", b""))
    return path


GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
DEPTHS = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
TRANSPARENCY = {GRAY: struct.pack(">H", 1), RGB: struct.pack(">HHH", 10, 20, 30), PALETTE: bytes([0, 128]), GRAY_ALPHA: None, RGBA: None}


def png_files(folder):
    """Every color type, bit depth and transparency, plain and interlaced. Not 16-bit gray, which Pillow clips."""
    generator = numpy.random.default_rng(1)
    for color, depths in DEPTHS.items():
        for bits, interlaced, transparent in itertools.product(depths, (False, True), (False, True)):
            if transparent and TRANSPARENCY[color] is None or (color, bits) == (GRAY, 16):
                continue
            samples = generator.integers(0, 1 << bits, (19, 21, CHANNELS[color]))
            path = folder / f"color{color}-{bits}bit-{'interlaced' if interlaced else 'plain'}-{transparent}.png"
            palette = generator.integers(0, 256, (1 << bits, 3)) if color == PALETTE else None
            yield write_png(path, samples, bits, color, interlaced=interlaced, palette=palette,
                            transparency=TRANSPARENCY[color] if transparent else None)  # fmt: skip
    for width, height in ((1, 1), (2, 1), (1, 5), (3, 3)):  # some of the seven passes are empty
        samples = generator.integers(0, 256, (height, width, 3))
        samples[0, 0] = 0, 128, 255
        yield write_png(folder / f"tiny-{width}x{height}.png", samples, 8, RGB, interlaced=True)
    photo = Image.fromarray(photograph(97, 61))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):  # Pillow's writer uses row filters, which the one above does not
        photo.convert(mode).save(folder / f"pillow-{mode}.png")
        yield folder / f"pillow-{mode}.png"


# ---------------------------------------------------------------------------------------------------------- all


def larger_files(folder):
    """Photographs, and noise of the two extreme values, whose resizing overshoots both ends."""
    for i, (width, height) in enumerate([(500, 375), (375, 500), (28, 28), (1, 1), (3, 200), (100, 301), (641, 2), (224, 224)]):
        noise = numpy.random.default_rng(i).choice([0, 255], (height, width, 3)).astype(numpy.uint8)
        for name, pixels in (("photo", photograph(width, height, seed=i)), ("extremes", noise)):
            Image.fromarray(pixels).save(folder / f"{name}-{width}x{height}.png", compress_level=1)
            yield folder / f"{name}-{width}x{height}.png"
    for (width, height), subsampling, progressive in itertools.product([(500, 375), (333, 501)], (0, 1, 2), (False, True)):
        path = folder / f"photo-{width}x{height}-sub{subsampling}{'-progressive' if progressive else ''}.jpg"
        image = Image.fromarray(photograph(width, height, seed=9))
        image.save(path, quality=90, subsampling=subsampling, progressive=progressive)
        yield path


def all_files(folder):
    return [*jpeg_files(folder), *rotated_files(folder), *rotated_elsewhere(folder), *png_files(folder), *larger_files(folder)]
