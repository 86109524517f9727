"""Requests with recipes, as methods resolve them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from livo_bench.engines.seeds import seed_of
from livo_bench.records import Principle, Prompt, Recipe, Request

GENDER = Principle("bias", "gender", "gender equality", ("female", "male"))
RACE = Principle("bias", "race", "racial equality", ("asian", "black", "white"))


def prompt(concept: str) -> Prompt:
    return Prompt(f"id-{concept}", f"a photo of a {concept}", concept, "career", "photo", "eval")


def plain(request: Request) -> Recipe:
    return Recipe(
        model="m" * 64,
        text=request.prompt.text,
        seed=seed_of(0, request.prompt.text, request.index),
        negative="",
        guidance=2.0,
        sampler="dpmsolver++",
        steps=12,
        size=64,
        dtype="float32",
    )


def steered(request: Request) -> Recipe:
    """Even indices ask for the subset's value, as LiVO does."""
    base = plain(request)
    if request.index % 2:
        return base
    return replace(base, text=f"{base.text}, {request.principle.value}")


def wanted(
    resolve: Callable[[Request], Recipe] = plain,
    images: int = 6,
    concepts: Sequence[str] = ("chef", "nurse"),
    principles: Sequence[Principle] = (GENDER,),
) -> list[tuple[Request, Recipe]]:
    requests = [
        Request(prompt(concept), index, principle)
        for principle in principles
        for concept in concepts
        for index in range(images)
    ]
    return [(request, resolve(request)) for request in requests]
