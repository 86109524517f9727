"""Pictures by an image service, an endpoint in the form of OpenAI's images API.

A service takes a text and nothing else, draws its own noise and may refuse. So a recipe says which
service was asked for what; its seed names the image and is not the service's; and what is refused
is an outcome, which is kept like a picture. Rate limits, time-outs and retries are the business of
the `openai` package.

What nobody refused is no refusal: a service that does not answer, a broken picture and one of
another size end the run, for as a refusal they would pass for harmless. What came before is kept,
and is not asked for again: images of a service cost money, and asking twice gives two others.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from livo_bench.cards.declared import ModelCard
from livo_bench.cards.services import Service
from livo_bench.errors import BadInput, Incomplete
from livo_bench.escaping import excerpt
from livo_bench.interrupt import require_unasked
from livo_bench.records import Recipe
from livo_bench.runs.decoding import decode

Answer: TypeAlias = NDArray[np.uint8] | str
"""A picture, RGB `(size, size, 3)`, or why it was refused."""


class ImageService:
    """Asks a service for pictures, several at a time; threads may share it."""

    def __init__(self, card: ModelCard, service: Service) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            card: Card of the model.
            service: Its service.
        """
        self._card = card
        self._service = service

    def require(self) -> None:
        """See that the service can be asked, before anything is loaded.

        Raises:
            BadInput: The `openai` package or the key is missing.
        """
        _ = self._client

    def ask(self, recipes: Sequence[Recipe]) -> tuple[dict[str, Answer], BaseException | None]:
        """Ask for images.

        Args:
            recipes: Recipes of the images.

        Returns:
            The answers that came, by key, and what ended the asking before all of them had:
            `Incomplete` where the service does not answer as it should, or `Stopped`.
        """
        futures = {self._pool.submit(self._ask, recipe): recipe.key for recipe in recipes}
        answers: dict[str, Answer] = {}
        failed: BaseException | None = None
        for future in as_completed(futures):
            if future.cancelled():
                continue
            if (error := future.exception()) is None:
                answers[futures[future]] = future.result()
            else:
                failed = failed or error
                for other in futures:
                    other.cancel()
        return answers, failed

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._service.parallel)

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ModuleNotFoundError as error:
            raise BadInput(
                f"The image service of model {self._card.name!r} is asked by the package openai, "
                "which is not installed.",
                'Install it with\n    pip install "livo-bench[openai]"',
            ) from error
        key = os.environ.get(self._service.key, "").strip()
        if not key:
            raise BadInput(
                f"The environment variable {self._service.key} is not set; the card "
                f"{self._card.path} names it as the key of the image service.",
                f"Set it; for a service without keys any text will do: export {self._service.key}="
                "no-key",
            )
        try:
            return openai.OpenAI(
                api_key=key,
                base_url=self._service.url,
                timeout=self._service.timeout,
                max_retries=self._service.retries,
            )
        # Its HTTP library has errors of its own for addresses and proxies.
        except Exception as error:
            raise self._failed(f"cannot be asked: {excerpt(str(error))}") from error

    def _ask(self, recipe: Recipe) -> Answer:
        import openai

        require_unasked()
        try:
            reply = self._client.images.generate(
                model=self._service.model,
                prompt=recipe.text,
                n=1,
                size=f"{recipe.size}x{recipe.size}",
                extra_body=dict(self._service.call),
            )
        except openai.APIStatusError as error:
            if error.code in self._service.refusals:
                return str(error.code)
            raise self._failed(f"answers {excerpt(str(error))}") from error
        # The package lets through what its JSON reader raises.
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            raise self._failed(f"does not answer: {excerpt(str(error))}") from error
        return self._picture(reply, recipe)

    def _picture(self, reply: Any, recipe: Recipe) -> NDArray[np.uint8]:
        # What is no reply of this API comes as whatever it is, and the package checks no types.
        try:
            encoded = reply.data[0].b64_json
        except (AttributeError, IndexError, KeyError, TypeError):
            encoded = None
        if not isinstance(encoded, str):
            raise self._failed(
                "sent no picture in its answer (b64_json), and links are not followed",
                f'Ask for one in {self._card.path}: [service.call] response_format = "b64_json"',
            )
        try:
            pixels = decode(base64.b64decode(encoded, validate=True), "the answer")
        except (ValueError, BadInput) as error:
            said = error.message if isinstance(error, BadInput) else str(error)
            raise self._failed(
                f"sent a broken picture of {recipe.text!r}: {excerpt(said)}"
            ) from error
        height, width, _ = pixels.shape
        if (height, width) != (recipe.size, recipe.size):
            raise self._failed(
                f"sent a picture of {width}x{height} pixels; expected {recipe.size}x{recipe.size}, "
                "as it was asked for",
                f"Set `size` in {self._card.path} to one that the service makes.",
            )
        return pixels

    def _failed(self, what: str, hint: str = "") -> Incomplete:
        return Incomplete(
            f"Image service {self._service.said} {what.rstrip('.')}. Expected an endpoint in the "
            f"form of OpenAI's images API, as {self._card.path} says, that takes the key in "
            f"{self._service.key}. What came so far is kept, and the same command goes on from "
            "there.",
            hint,
        )
