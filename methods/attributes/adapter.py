"""Attribute sampling: an attribute, drawn exactly evenly, stands in the prompt."""

from livo_bench.interfaces import MethodContext
from livo_bench.methods.prompting import AttributeSampling


def load(context: MethodContext) -> AttributeSampling:
    return AttributeSampling()
