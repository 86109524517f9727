"""Detoxified prompt: the words that name a hazard are left out."""

from livo_bench.methods.prompting import DetoxifiedPrompt
from livo_bench.protocols import MethodContext


def load(context: MethodContext) -> DetoxifiedPrompt:
    return DetoxifiedPrompt()
