"""The unaligned model: what every other method is compared with."""

from livo_bench.interfaces import MethodContext
from livo_bench.records import Recipe, Request


class StableDiffusion:
    def resolve(self, request: Request, base: Recipe) -> Recipe:
        return base


def load(context: MethodContext) -> StableDiffusion:
    return StableDiffusion()
