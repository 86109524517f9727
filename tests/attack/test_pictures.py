"""Pictures made elsewhere in odd forms, damaged; what is called like one; and tables of them."""

import os
import random
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from damage import COUNTS, as_json, damaged, string, survive
from PIL import Image, PngImagePlugin

from livo_bench.cards.catalog import task_cards
from livo_bench.cards.prompts import read_user_prompts
from livo_bench.errors import BadInput
from livo_bench.records import Prompt
from livo_bench.runs import layouts
from livo_bench.runs.decoding import decode, digest
from livo_bench.runs.given_pictures import Pictures

SIDE = 12
PROMPTS = [
    Prompt(f"career-{job}", f"a {job}", job, "career", "a {}", "eval") for job in ("cook", "nurse")
]


def _forms() -> dict[str, bytes]:
    """Files of one picture in the forms that tools write, some of them to be refused."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    colours = Image.fromarray(noise[..., :3])
    clear = Image.fromarray(noise)
    gray = Image.fromarray(noise[..., 0])
    deep = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
    turned = Image.Exif()
    turned[0x0112] = 6
    turned[0x010E] = "a description"
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "steps: 20, " * 30, zip=True)
    info.add_itxt("prompt", "a photo of a nurse", zip=True)
    profile = bytes(range(256)) * 2
    movie = {"save_all": True, "append_images": [colours.rotate(90)]}
    made: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "png": (colours, "PNG", {}),
        "png alpha": (clear, "PNG", {}),
        "png palette": (colours.convert("P"), "PNG", {"transparency": 3}),
        "png gray": (gray, "PNG", {"transparency": 5}),
        "png gray alpha": (clear.convert("LA"), "PNG", {}),
        "png 16 bits": (deep, "PNG", {}),
        "png 1 bit": (gray.convert("1"), "PNG", {}),
        "png texts": (colours, "PNG", {"pnginfo": info, "icc_profile": profile}),
        "png turned": (colours, "PNG", {"exif": turned}),
        "png animated": (colours, "PNG", movie),
        "jpeg": (colours, "JPEG", {"quality": 90}),
        "jpeg turned": (colours, "JPEG", {"exif": turned, "icc_profile": profile}),
        "jpeg progressive": (colours, "JPEG", {"progressive": True, "comment": b"by a tool"}),
        "jpeg gray": (gray, "JPEG", {}),
        "jpeg cmyk": (colours.convert("CMYK"), "JPEG", {}),
        "jpeg with preview": (colours, "MPO", movie),
        "webp": (colours, "WEBP", {"exif": turned, "icc_profile": profile}),
        "webp lossless alpha": (clear, "WEBP", {"lossless": True}),
        "webp animated": (colours, "WEBP", movie),
        "gif": (colours, "GIF", {}),
        "tiff": (colours, "TIFF", {}),
        "bmp": (colours, "BMP", {}),
    }
    files = {}
    for form, (image, kind, options) in made.items():
        file = BytesIO()
        image.save(file, kind, **options)
        files[form] = file.getvalue()
    return files


FORMS = _forms()
REFUSED = {"png animated", "jpeg with preview", "webp animated", "gif", "tiff", "bmp"}


def _resealed(data: bytes) -> bytes:
    """A PNG whose checksums fit again, so that the damage lies deeper."""
    made, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + size]
        made += data[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        at += 12 + size
    return bytes(made)


def test_forms_are_read_or_refused_as_docs_say() -> None:
    for form, data in FORMS.items():
        try:
            pixels = decode(data, form)
        except BadInput:
            assert form in REFUSED
        else:
            assert form not in REFUSED
            assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)


@COUNTS
def test_a_damaged_picture_is_read_or_refused(count: int) -> None:
    draw = random.Random("pictures")

    def inputs() -> Iterator[bytes]:
        for number in range(count):
            form = list(FORMS)[number % len(FORMS)]
            made = damaged(FORMS[form], draw)
            if form.startswith("png") and draw.random() < 0.5:
                made = _resealed(made)
            yield made

    def read(made: bytes) -> None:
        pixels = decode(made, "0.png")
        assert pixels.dtype == np.uint8
        assert pixels.shape == (*pixels.shape[:2], 3)
        digest(pixels)

    survive("picture", inputs(), read, 0.4)


def _put(path: Path, draw: random.Random) -> None:
    """Something that is called like a picture."""
    match draw.randrange(8):
        case 0:
            path.mkdir()
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to(draw.choice(["gone", path.name, "/dev/zero", "..", "/dev/fd/0"]))
        case 3:
            path.touch()
        case 4:
            path.write_bytes(damaged(FORMS["png"], draw))
        case _:
            path.write_bytes(FORMS[draw.choice(list(FORMS))])


@COUNTS
def test_a_folder_of_anything_is_read_or_refused(tmp_path: Path, count: int) -> None:
    draw = random.Random("folders")
    names = ["0.png", "1.png", "1.jpg", "01.webp", "2.png", "prompt_000001.png", "x", ".0.png"]
    folders = [*(prompt.id for prompt in PROMPTS), "samples", "a cook"]

    def inputs() -> Iterator[Path]:
        for number in range(count):
            top = tmp_path / str(number)
            top.mkdir()
            for folder in ["", *folders]:
                if draw.random() < 0.7:
                    (top / folder).mkdir(exist_ok=True)
                    for name in draw.sample(names, draw.randrange(len(names) // 2)):
                        _put(top / folder / name, draw)
            if draw.random() < 0.5:
                for prompt in PROMPTS:
                    (top / prompt.id).mkdir(exist_ok=True)
                    path = top / prompt.id / "0.png"
                    if not os.path.lexists(path):
                        path.write_bytes(FORMS["png"])
            yield top

    def read(folder: Path) -> None:
        pictures = Pictures(folder)
        pictures.open(PROMPTS, 1)
        assert len(pictures.digest) == 64

    survive("folder of pictures", inputs(), read, 0.4)


@COUNTS
def test_metadata_is_read_or_refused(tmp_path: Path, count: int) -> None:
    draw = random.Random("metadata")
    rows = [
        {"file_name": f"{n}.png", "id": p.id, "text": p.text, "index": 0}
        for n, p in enumerate(PROMPTS)
    ]
    for row in rows:
        (tmp_path / str(row["file_name"])).write_bytes(FORMS["png"])

    def inputs() -> Iterator[tuple[str, bytes]]:
        for _ in range(count):
            if draw.random() < 0.5:
                yield "metadata.jsonl", b"\n".join(as_json(row, draw) for row in rows)
                continue
            columns = draw.sample(list(rows[0]), draw.randrange(2, 5))
            separator = draw.choice([",", ";", "\t", "|"])
            lines = [columns, *([str(row[column]) for column in columns] for row in rows)]
            cells = [[string(draw) if draw.random() < 0.05 else cell for cell in r] for r in lines]
            table = "\r\n".join(separator.join(row) for row in cells)
            above = draw.choice(["", "", f"sep={separator}\r\n"])
            encoding = draw.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
            data = (above + table).encode(encoding, "replace")
            yield "metadata.csv", damaged(data, draw) if draw.random() < 0.3 else data

    def read(made: tuple[str, bytes]) -> None:
        for name in layouts.METADATA:
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / made[0]).write_bytes(made[1])
        Pictures(tmp_path).open(PROMPTS, 1)

    survive("metadata of pictures", inputs(), read, 0.4)


@COUNTS
def test_a_list_of_another_program_is_read_or_refused(tmp_path: Path, count: int) -> None:
    draw = random.Random("programs")
    task = task_cards()["bias"]
    path = tmp_path / "own.csv"
    columns = ["text", "category", "split"]
    rows = [["a nurse", "career", "eval"], ["a kind, old person", "positive", "train"]]

    def inputs() -> Iterator[bytes]:
        for _ in range(count):
            separator = draw.choice([",", ";", "\t", "|"])
            table = "\n".join(separator.join(f'"{cell}"' for cell in r) for r in [columns, *rows])
            above = draw.choice(["", f"sep={separator}\n", f'"sep={separator}"\r\n', "sep="])
            encoding = draw.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp037"])
            data = (above + table).encode(encoding)
            yield damaged(data, draw) if draw.random() < 0.5 else data

    def read(made: bytes) -> None:
        path.write_bytes(made)
        assert {prompt.split for prompt in read_user_prompts(path, task)} == {"eval"}

    survive("prompt list of another program", inputs(), read, 0.2)
