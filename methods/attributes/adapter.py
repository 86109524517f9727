"""Attribute sampling: an attribute, drawn exactly evenly, stands in the prompt."""

from livo_bench.methods.prompting import AttributeSampling
from livo_bench.protocols import MethodContext


def load(context: MethodContext) -> AttributeSampling:
    return AttributeSampling()
