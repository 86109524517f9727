"""LiVO: a value encoder adds one token to the context; half of the bias images are steered."""

from livo_bench.methods.livo.steering import load

__all__ = ["load"]
