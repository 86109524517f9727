"""Detoxified prompt: the words that name a hazard are left out."""

from livo_bench.interfaces import MethodContext
from livo_bench.methods.prompting import DetoxifiedPrompt


def load(context: MethodContext) -> DetoxifiedPrompt:
    return DetoxifiedPrompt()
