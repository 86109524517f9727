"""DAPT: the UNet, trained on, on balanced and harmless pictures."""

from livo_bench.methods.overlaid import load

__all__ = ["load"]
