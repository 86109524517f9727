"""Bytes of a picture that was made elsewhere become pixels, by rules that docs/pictures.md states.

One function decodes; what it gets are bytes that were read once, so what is judged is what was
looked at. The orientation that EXIF asks for is applied; of 16 bits the upper 8 are taken; what is
transparent lies on white; colour profiles are left out of account. Files that hold several
pictures are refused, as nobody said which one is meant.
"""

from __future__ import annotations

import shlex
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from livo_bench.errors import BadInput
from livo_bench.escaping import excerpt
from livo_bench.files import sha256

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 8192 * 8192
"""Most pixels that one picture may have."""
MAX_BYTES = 8 * MAX_PIXELS
"""Most bytes that its file may have: colours and transparency in 16 bits, uncompressed."""
_FORMATS = ("PNG", "JPEG", "WEBP")
_PNG, _DEPTH_AT = b"\x89PNG\r\n\x1a\n", 24
"""What a PNG begins with, and the byte that says how many bits a colour has."""


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or WebP.

    Args:
        data: All bytes of a file.
        name: Name of the file, for messages.

    Returns:
        RGB, `(height, width, 3)`.

    Raises:
        BadInput: It is another kind of file, damaged, too large, or holds several pictures.
    """
    if not data:
        raise BadInput(f"{name} is empty, expected a picture.", "Make it again, or copy it again.")
    try:
        with _open(data, name) as image:
            return _as_rgb(image)
    except BadInput:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, str(error).partition(",")[0]) from error
    except UnidentifiedImageError as error:
        raise _unreadable(
            name, f"no PNG, JPEG or WebP with a sound header; it begins with {data[:16]!r}"
        ) from error
    except Exception as error:  # damaged bytes make Pillow raise a dozen kinds
        if "MAX_TEXT" in str(error):
            raise BadInput(
                f"{name} carries a text or colour profile that is larger than is read ({error}).",
                f"Save it again without: exiftool -all= {shlex.quote(name)}",
            ) from error
        raise _unreadable(name, str(error) or type(error).__name__) from error


def digest(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of pixels and their shape: the same for all files that show the same."""
    return sha256(f"{pixels.shape}".encode() + pixels.tobytes())


def _open(data: bytes, name: str) -> Image.Image:
    """Read the header, and refuse by it what will not be decoded."""
    image = Image.open(BytesIO(data), formats=_FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width:,} x {height:,} pixels")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise BadInput(
            f"{name} holds {frames} pictures, as an animation or a photograph with a preview does; "
            "expected one.",
            "Save the one that is meant as a file of its own.",
        )
    if data.startswith(_PNG):
        if data[_DEPTH_AT] == 16 and "transparency" in image.info:
            raise BadInput(
                f"{name} makes one colour of 16 bits transparent; expected transparency in a "
                "channel, or none.",
                "Save it again with 8 bits.",
            )
        # Decoding alone does not look at the checksums of the pixels.
        image.verify()
        image = Image.open(BytesIO(data), formats=_FORMATS)
    return image


def _as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # gray of 16 bits; colours of 16 bits Pillow shortens likewise
        gray = (np.asarray(upright) >> 8).astype(np.uint8)
        return np.stack([gray, gray, gray], axis=-1)
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    return np.asarray(upright.convert("RGB"))


def _too_large(name: str, what: str) -> BadInput:
    return BadInput(
        f"{name} is too large ({what}); expected at most {MAX_PIXELS:,} pixels. Scale it down "
        "first."
    )


def _unreadable(name: str, reason: str) -> BadInput:
    return BadInput(
        f"{name} is no picture that can be read ({excerpt(reason)}).", "Make it or copy it again."
    )
