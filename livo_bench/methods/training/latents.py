"""Stored pictures as noisy latents: what every training of this project starts from."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from livo_bench.bars import counted
from livo_bench.engines.diffusion import vae_batch
from livo_bench.errors import BadInput
from livo_bench.interfaces import Pixels
from livo_bench.runs.plan import id_of_keys
from livo_bench.runs.session import Session
from livo_bench.scorers import pixels_to_tensor

log = logging.getLogger(__name__)

SEAL_BYTES = 32

Moments = NDArray[np.float16]
"""Posterior mean and standard deviation of pictures, `(n, 2, channels, height, width)`."""


def moments_of(session: Session, keys: Sequence[str], folder: Path) -> Moments:
    """Posterior moments of stored pictures under the VAE, computed once and kept.

    Behind the array its file carries a seal, the SHA-256 of what lies before; one that is damaged
    is made again.

    Args:
        session: Session whose store has the pictures, and whose VAE encodes them.
        keys: Keys of distinct pictures, in the order of the rows.
        folder: Where the moments are kept.

    Raises:
        BadInput: Pictures are gone.
    """
    path = folder / f"latents-{id_of_keys(keys)}.npy"
    if not _holds(path):
        vae = session.denoiser.vae
        rows = {key: row for row, key in enumerate(keys)}
        parts = list(_parts(session, keys))
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own, as two trainings may do this side by side.
        unfinished = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
        shape = (len(keys), *_encode(vae, _pixels(session, keys[:1])).shape[1:])
        moments = open_memmap(unfinished, "w+", np.float16, shape)
        for part in counted(parts, "encoding pictures"):
            moments[[rows[key] for key in part]] = _encode(vae, _pixels(session, part))
        moments.flush()
        with unfinished.open("ab") as file:
            file.write(_seal(np.memmap(unfinished, np.uint8, "r")))
            os.fsync(file.fileno())
        unfinished.rename(path)
    kept: Moments = np.load(path, mmap_mode="r")
    return kept


def _holds(path: Path) -> bool:
    """Whether moments are there and whole."""
    if not path.exists():
        return False
    length = path.stat().st_size - SEAL_BYTES
    if length > 0:
        data = np.memmap(path, np.uint8, "r")
        if _seal(data[:length]) == data[length:].tobytes():
            return True
    log.warning("%s is damaged, or an older version wrote it; it is made again.", path)
    return False


def _seal(data: NDArray[np.uint8]) -> bytes:
    return sha256(data.data).digest()


def draw(moments: Moments, rows: Sequence[int], generator: torch.Generator) -> Tensor:
    """Latents drawn from pictures' posteriors, float32, `(n, channels, height, width)`, as the VAE
    has them; `Denoiser.scaled` makes them what the network sees.

    Args:
        moments: Moments of all pictures.
        rows: Rows of the pictures to draw.
        generator: Generator of the draw.
    """
    mean, std = torch.from_numpy(moments[list(rows)]).float().unbind(1)
    return mean + std * torch.randn(mean.shape, generator=generator)


def _parts(session: Session, keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """The keys, as many at a time as the VAE sees at a time, those of one file after another."""
    length = vae_batch(session.model.size)
    for together in session.store.together(keys):
        yield from (together[start : start + length] for start in range(0, len(together), length))


def _pixels(session: Session, keys: Sequence[str]) -> Pixels:
    found = session.store.read_samples(keys)
    if len(found) < len(keys):
        raise BadInput(
            f"{len(keys) - len(found)} or more pictures to train on are gone from "
            f"{session.store.folder}.",
            f"Delete the data that names them, {session.runs / 'preferences'}, and make it again: "
            "livo-bench data build",
        )
    return np.stack(list(found.values()))


@torch.inference_mode()
def _encode(vae: AutoencoderKL, pixels: Pixels) -> Moments:
    images = pixels_to_tensor(pixels, vae.device).to(vae.dtype) / 127.5 - 1
    posterior = vae.encode(images).latent_dist
    moments = torch.stack([posterior.mean, posterior.std], dim=1)
    half: Moments = moments.to(torch.float16).cpu().numpy()
    return half
