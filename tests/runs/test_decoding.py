"""Bytes of pictures to pixels: the rules of docs/pictures.md, each against a second opinion."""

import os
import socket
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from livo_bench.cards import outside
from livo_bench.errors import BadInput
from livo_bench.runs import decoding

SIDE = 16
COLOURS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
GRAY = np.random.default_rng(1).integers(0, 2**16, (SIDE, SIDE), np.uint16)
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}
"""What a camera that was held so wrote, for a picture that is upright: the inverse of each turn."""


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(depth: int, kind: int, rows: NDArray[np.uint8], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, for forms that Pillow does not write; rows are its bytes, `(height, n)`."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, kind, 0, 0, 0)
    lines = np.concatenate([np.zeros((len(rows), 1), np.uint8), rows], axis=1)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def big_endian(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return np.frombuffer(values.astype(">u2").tobytes(), np.uint8).reshape(len(values), -1)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_upright(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = Image.fromarray(np.ascontiguousarray(TURNS[orientation](COLOURS)))
    data = saved(lying, form, exif=exif, lossless=True)
    assert np.array_equal(decoding.decode(data, "a.png"), COLOURS)


def test_a_jpeg_is_turned_upright() -> None:
    halves = np.zeros((SIDE, SIDE, 3), np.uint8)
    halves[: SIDE // 2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(np.rot90(halves).copy()), "JPEG", exif=exif, quality=100)
    found = decoding.decode(data, "a.jpg").astype(int)
    assert np.abs(found - halves).max() < 8


def test_sixteen_bits_of_gray_are_scaled() -> None:
    found = decoding.decode(png(16, 0, big_endian(GRAY)), "a.png")
    assert np.array_equal(found, np.stack([GRAY // 256] * 3, axis=-1))


def test_sixteen_bits_of_colour_are_scaled_alike() -> None:
    colours = np.stack([GRAY, GRAY.T, GRAY[::-1]], axis=-1)
    found = decoding.decode(png(16, 2, big_endian(colours.reshape(SIDE, -1))), "a.png")
    assert np.array_equal(found, colours // 256)


def over_white(colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_transparent_lies_on_white(form: str) -> None:
    alpha = np.linspace(0, 255, SIDE * SIDE).astype(np.uint8).reshape(SIDE, SIDE)
    image = Image.fromarray(np.dstack([COLOURS, alpha]))
    found = decoding.decode(saved(image, form, lossless=True, exact=True), "a.png")
    assert np.abs(found - over_white(COLOURS, alpha)).max() < 1


def test_gray_with_transparency_lies_on_white() -> None:
    gray, alpha = COLOURS[..., 0], COLOURS[..., 1]
    image = Image.merge("LA", [Image.fromarray(gray), Image.fromarray(alpha)])
    found = decoding.decode(saved(image), "a.png")
    assert np.abs(found - over_white(gray[..., None], alpha)).max() < 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_transparent_colour_is_white(mode: str) -> None:
    """A colour that stands for nothing hides what it would show, here black."""
    image = Image.fromarray(COLOURS).convert("RGB")
    image.paste((0, 0, 0), (0, 0, SIDE // 2, SIDE))
    image = image.convert(mode)
    hidden = (0, 0, 0) if mode == "RGB" else image.getpixel((0, 0))
    found = decoding.decode(saved(image, transparency=hidden), "a.png")
    assert (found[:, : SIDE // 2] == 255).all()


def test_equal_pixels_in_other_files_have_one_digest() -> None:
    image = Image.fromarray(COLOURS)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "steps: 20")
    files = [
        saved(image),
        saved(image, compress_level=0),
        saved(image, pnginfo=info),
        saved(image, "WEBP", lossless=True),
        saved(image.convert("RGBA")),
    ]
    digests = {decoding.digest(decoding.decode(data, "a.png")) for data in files}
    assert len(digests) == 1
    assert decoding.digest(COLOURS.reshape(SIDE // 2, SIDE * 2, 3)) not in digests
    assert decoding.digest(COLOURS[::-1].copy()) not in digests


def animated(form: str) -> bytes:
    frames = [Image.fromarray(COLOURS), Image.fromarray(COLOURS[::-1].copy())]
    return saved(frames[0], form, save_all=True, append_images=frames[1:])


def with_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    return saved(Image.fromarray(COLOURS), pnginfo=info)


def torn(form: str) -> bytes:
    data = saved(Image.fromarray(COLOURS), form)
    return data[: len(data) * 2 // 3]


def with_a_turned_bit() -> bytes:
    data = bytearray(saved(Image.fromarray(COLOURS)))
    data[data.index(b"IDAT") + 40] ^= 1
    return bytes(data)


def wide(width: int, height: int) -> bytes:
    data = bytearray(png(8, 2, np.zeros((SIDE, 3 * SIDE), np.uint8)))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def with_profile(size: int) -> bytes:
    return saved(Image.fromarray(COLOURS), icc_profile=bytes(size))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"a\.png is empty"),
        (b"a picture", r"no PNG, JPEG or WebP .* begins with b'a picture'"),
        (saved(Image.fromarray(COLOURS), "GIF"), r"no PNG, JPEG or WebP .* begins with b'GIF"),
        (saved(Image.fromarray(COLOURS), "TIFF"), r"no PNG, JPEG or WebP"),
        (animated("PNG"), r"a\.png holds 2 pictures, as an animation.*expected one"),
        (animated("WEBP"), r"a\.png holds 2 pictures"),
        (animated("MPO"), r"a\.png holds 2 pictures, as .* a photograph with a preview"),
        (with_text(), r"carries a text .* larger than is read.*exiftool -all= a\.png"),
        (with_profile(2 * PngImagePlugin.MAX_TEXT_CHUNK), r"colour profile that is larger than"),
        (torn("PNG"), r"a\.png is no picture that can be read"),
        (torn("JPEG"), r"a\.png is no picture that can be read"),
        (torn("WEBP"), r"a\.png is no picture that can be read"),
        (with_a_turned_bit(), r"a\.png is no picture that can be read \(broken PNG file"),
        (wide(8193, 8192), r"too large \(8,193 x 8,192 pixels\); expected at most 67,108,864"),
        (wide(20_000, 20_000), r"a\.png is too large"),
        (wide(2**31 - 1, 2**31 - 1), r"a\.png is too large"),
        (png(16, 0, big_endian(GRAY), (b"tRNS", b"\0\0")), r"one colour of 16 bits transparent"),
    ],
)
def test_what_cannot_be_one_picture_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        decoding.decode(data, "a.png")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path.relative_to(Path.cwd())))


def make_dangling(path: Path) -> None:
    path.symlink_to("gone.png")


def make_circle(path: Path) -> None:
    path.symlink_to(path.name)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_nothing(path: Path) -> None:
    pass


def make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(11)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_folder, r"0\.png: it is a folder, expected a plain file"),
        (make_pipe, r"0\.png: it is a pipe, expected a plain file"),
        (make_socket, r"0\.png: it is a socket, expected a plain file"),
        (make_device, r"0\.png: it is a device, expected a plain file"),
        (make_dangling, r"0\.png: it is a link to 'gone\.png': No such file"),
        (make_circle, r"0\.png: it is a link to '0\.png': Too many levels"),
        (make_nothing, r"0\.png: No such file"),
        (make_large, r"0\.png: it has 11 bytes, expected at most 10 bytes"),
    ],
)
def test_only_plain_files_are_opened(
    make: Callable[..., object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    make(tmp_path / "0.png")
    with pytest.raises(BadInput, match=message):
        outside.read_bytes(tmp_path / "0.png", "the picture", limit=10)
